"""Before step 1: forecast how long the run will take, its memory and disk, and its loss.

Steps, an evaluation and a save are tried on a separate model that is discarded, so that the run's own state is unaffected. The
forecast is written to forecast.json and scored against the measurements in summary.json.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.reading import reading
from lmlab.model.cost import parameters as count_parameters
from lmlab.planning.forecasts.calibration import Calibration, calibrated
from lmlab.planning.forecasts.disk import SAVES_FOR_REWINDS, disk_bytes, kept_bytes
from lmlab.planning.forecasts.duration import Duration, duration_of
from lmlab.planning.trials.child import Measurement
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import bytes_in, count, duration
from lmlab.scaling.estimate import Estimate
from lmlab.training.evaluating import EvaluationPlan
from lmlab.training.load import load_words
from lmlab.training.wall import WORDS, Since

FORMAT = 1
LEAST_CHECKPOINTS = 3
COUNTED_SPREAD = 0.15
"""Standard deviation of log(peak memory) where its parts were counted and nothing was tried."""
MARGIN_BYTES = 1 << 20
"""Allowance for manifests and states, which grow with a run."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The expected cost of a run. Times in seconds, sizes in bytes."""

    parameters: int
    table_parameters: int
    """Those in n-gram tables."""
    steps: int
    tokens: int
    epochs: float
    tokens_a_parameter: float
    """Without tables: a token reads few of their rows."""
    step_seconds: float
    step_seconds_spread: float
    """Half the distance between the quartiles of the timed steps."""
    timed_steps: int
    processor_share: float
    """The CPU time that they received as a share of what they requested: 1 on an idle machine."""
    kept: bool
    """Whether the trial is a stored one of an earlier start."""
    tokens_per_second: float
    train_seconds: float
    evaluate_seconds: float
    save_seconds: float
    start_seconds: float
    """The time from the start of the process or call until the forecast: measured, and a part of the total."""
    open_seconds: float
    """The time from then until steps take their usual time."""
    since: Since
    """Where the total begins."""
    total_seconds: float
    checkpoint_bytes: int
    disk_bytes: int
    """The maximum that the checkpoints occupy at any time."""
    peak_memory_bytes: int
    raw: Mapping[str, float]
    """The figures before the correction by earlier runs, from which later forecasts are calibrated."""
    figures: Mapping[str, Estimate]
    """The figures with an interval, by their names in summary.json's score; `final_loss` only where a loss is expected."""

    def to_json(self) -> dict[str, Any]:
        """Return the value for forecast.json."""
        plain = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.name != "figures"}
        figures = {name: estimate.to_json() for name, estimate in self.figures.items()}
        return {"format": FORMAT, **plain, "figures": figures, "evidence": self.figures["total_seconds"].evidence}

    def line(self) -> str:
        """Return the forecast as one line."""
        total = self.figures["total_seconds"]
        tables = f" ({count(self.table_parameters)} of them in n-gram tables)" if self.table_parameters else ""
        loss = self.figures.get("final_loss")
        reaches = (
            "" if loss is None else f", loss {loss.value:.3f} ({loss.low:.3f} to {loss.high:.3f}; {loss.rests_on})"
        )
        memory = self.figures["peak_memory_bytes"]
        timed = f"{self.timed_steps} timed steps{' of an earlier start' if self.kept else ''}"
        busy = load_words(self.processor_share)
        rests = timed if total.evidence == "measured" else total.rests_on
        return (
            f"forecast: {count(self.parameters)} parameters{tables}, {self.steps:,} steps of {self.step_seconds * 1e3:,.0f} ms, "
            f"{count(self.tokens)} tokens ({self.epochs:.2f} epochs, {self.tokens_a_parameter:.2g} a parameter): about "
            f"{duration(total.value)} ({duration(total.low)} to {duration(total.high)}) from {WORDS[self.since]}, "
            f"{duration(self.start_seconds)} of them until now, at {self.tokens_per_second:,.0f} tokens/s ({rests}"
            f"{busy and '; ' + busy}), {self.disk_bytes / 1e6:,.0f} MB on disk, {memory.value / 1e6:,.0f} MB of memory "
            f"({memory.low / 1e6:,.0f} to {memory.high / 1e6:,.0f}){reaches}"
        )


def forecast_from(
    trial: Measurement,
    recipe: Recipe,
    dataset: Dataset,
    steps: int,
    first_step: int,
    evaluations: EvaluationPlan,
    calibrations: Mapping[str, Calibration],
    loss: Estimate | None,
    *,
    start_seconds: float,
    since: Since,
) -> Forecast:
    """Return the forecast for a run over `dataset` from `first_step` to `steps`, from a trial of it.

    `calibrations` are the errors of earlier forecasts here, `loss` the expected final loss, where there is one. `start_seconds` is
    the time from the start of the process or call until the forecast.
    """
    left = max(1, steps - first_step)
    read = reading(recipe, dataset)
    time = duration_of(recipe, trial, left, evaluations, calibrations, read.tokens(recipe.train.batch), start_seconds)
    memory = calibrated(
        "peak_memory_bytes",
        trial.peak_memory_bytes,
        {} if trial.counted else calibrations,
        "a sum of parts" if trial.counted else "a trial with an evaluation and a checkpoint",
        COUNTED_SPREAD if trial.counted else 0.0,
        evidence=trial.evidence,
    )
    parameters = count_parameters(recipe.model, dataset.vocabulary_size)
    tokens = read.tokens(left * recipe.train.batch)
    occupied = disk_bytes(recipe, steps, first_step, trial.checkpoint_bytes, 4 * parameters["total"])
    figures = {
        "total_seconds": time.total_seconds,
        "tokens_per_second": time.tokens_per_second,
        "peak_memory_bytes": memory,
        "kept_bytes": kept_bytes(
            recipe,
            steps,
            first_step,
            occupied,
            trial.checkpoint_bytes,
            time.total_seconds.value,
            4 * parameters["total"],
        ),
    }
    return Forecast(
        parameters=parameters["total"],
        table_parameters=parameters["ngrams"],
        steps=left,
        tokens=tokens,
        epochs=tokens / read.unique_tokens,
        tokens_a_parameter=tokens / (parameters["total"] - parameters["ngrams"]),
        step_seconds=time.step_seconds,
        step_seconds_spread=time.step_spread,
        timed_steps=time.timed_steps,
        processor_share=trial.processor_share,
        kept=trial.kept,
        tokens_per_second=time.tokens_per_second.value,
        train_seconds=time.train_seconds,
        evaluate_seconds=time.evaluate_seconds,
        save_seconds=time.save_seconds,
        start_seconds=time.start_seconds,
        open_seconds=time.open_seconds,
        since=since,
        total_seconds=time.total_seconds.value,
        checkpoint_bytes=trial.checkpoint_bytes,
        disk_bytes=occupied,
        peak_memory_bytes=round(memory.value),
        raw={**(_raw(trial, time) if not trial.counted else {}), **_loss_to_learn_from(loss)},
        figures=figures if loss is None else {**figures, "final_loss": loss},
    )


def _raw(trial: Measurement, time: Duration) -> dict[str, float]:
    """Return the figures for calibrating later forecasts, from a trial."""
    return {
        "total_seconds": time.raw_total,
        "tokens_per_second": time.raw_tokens_per_second,
        "peak_memory_bytes": trial.peak_memory_bytes,
    }


def _loss_to_learn_from(loss: Estimate | None) -> dict[str, float]:
    """Return a fitted or extrapolated loss for calibration. An earlier result or a published law has no information about such
    errors."""
    return {"final_loss": loss.value} if loss is not None and loss.evidence in ("fitted", "extrapolated") else {}


def require_budget(recipe: Recipe, forecast: Forecast) -> None:
    """Raise LabError where `train.disk` is too small for the newest and the best checkpoint, one being written, and those of
    rewinds."""
    rewinds = recipe.train.on_spike == "rewind"
    going_back = ", with those that rewinds need," if rewinds else ""
    count = LEAST_CHECKPOINTS + (SAVES_FOR_REWINDS if rewinds else 0)
    least = count * forecast.checkpoint_bytes + MARGIN_BYTES
    if recipe.train.disk is not None and bytes_in(recipe.train.disk) < least:
        raise LabError(
            f"train.disk {recipe.train.disk} is too little for checkpoints of {forecast.checkpoint_bytes / 1e6:,.1f} MB: the "
            f"newest, the best and the one that is being written{going_back} take {least / 1e6:,.1f} MB"
        )
