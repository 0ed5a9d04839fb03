"""Before step 1: forecast how long the run will take, its memory and disk, and its loss.

Steps, an evaluation and a save are tried on a separate model that is discarded, so that the run's own state is unaffected. The
forecast is written to forecast.json and scored against the measurements in summary.json.
"""

from __future__ import annotations

import dataclasses
import gc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.data.dataset import Dataset
from lmlab.data.reading import reading
from lmlab.hardware.memory import held_memory_bytes, peak_memory_bytes, release_freed_memory
from lmlab.model.cost import parameters as count_parameters
from lmlab.planning.forecasts.calibration import Calibration, calibrated
from lmlab.planning.forecasts.duration import Duration, duration_of
from lmlab.planning.forecasts.kept_checkpoints import SHORT_SECONDS, keeps_least
from lmlab.planning.trials.child import Measurement, measure, trial_folder
from lmlab.planning.trials.from_arithmetic import counted_trial
from lmlab.planning.trials.from_layers import expected_step_seconds
from lmlab.planning.trials.peaks import peak_flops
from lmlab.planning.trials.stored_trials import keep_trial, kept_trial
from lmlab.planning.trials.trial import Extent, Trial
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import bytes_in, count, duration
from lmlab.scaling.estimate import Estimate
from lmlab.training.evaluating import EvaluationPlan
from lmlab.training.length import times_in
from lmlab.training.load import load_words
from lmlab.training.policy import Policy
from lmlab.training.wall import WORDS, Since

FORMAT = 1
TIMED_STEPS = 8
PROBE_SECONDS = 2.0
"""Total time after which no further step is timed."""
LONG_STEP_SECONDS = 0.5
"""A step that is expected to take longer isn't timed eight times before a run."""
LONGEST_WHOLE_SECONDS = 2.0
"""Step time above which only two steps are tried."""
SAVES_ON_DISK = 2
"""The first and the best checkpoint are kept besides the latest ones."""
SAVES_FOR_REWINDS = 4
"""Rewinds also keep two checkpoints to return to and the best model of each."""
LEAST_CHECKPOINTS = 3
NOTICE = "trying some steps, an evaluation and a checkpoint for the forecast (once) ..."
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


def disk_bytes(recipe: Recipe, steps: int, first_step: int, checkpoint_bytes: int, weight_bytes: int) -> int:
    """Return the maximum size of a run's checkpoints, including one that is being written."""
    train = recipe.train
    whole = train.keep + 1
    older = SAVES_ON_DISK + (SAVES_FOR_REWINDS if train.on_spike == "rewind" else 0)
    if train.keep_every:
        span = math.lcm(train.keep_every, train.checkpoint_every)
        older += max(0, steps // span - first_step // span - train.keep)
    total = checkpoint_bytes * whole + older * (weight_bytes if train.keep_optimizer == "latest" else checkpoint_bytes)
    return total if train.disk is None else min(total, bytes_in(train.disk))


def kept_bytes(
    recipe: Recipe,
    steps: int,
    first_step: int,
    at_most: int,
    checkpoint_bytes: int,
    seconds: float,
    weight_bytes: int,
) -> Estimate:
    """Return the size of the checkpoints at the end: none is being written, and the best may be one of the latest."""
    if keeps_least(recipe, seconds):
        first = weight_bytes if first_step else 0  # of a branch; step 0 is kept as its seed
        least, most = checkpoint_bytes + first, 2 * checkpoint_bytes + first
        rests_on = f"the latest and the best of a run of less than {SHORT_SECONDS / 60:.0f} minutes"
    else:
        made = times_in(max(1, steps - first_step), recipe.train.checkpoint_every) * checkpoint_bytes
        most, least = min(made, at_most - checkpoint_bytes), min(made, at_most - 2 * checkpoint_bytes)
        rests_on = f"train.keep {recipe.train.keep}, the first checkpoint and the best"
    return Estimate(value=least, low=0.98 * least, high=1.02 * most, evidence="formula", rests_on=rests_on)


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


def try_here(
    recipe: Recipe,
    policy: Policy,
    dataset: Dataset,
    say: Callable[[str], object] | None = None,
    idle_bytes: int | None = None,
) -> Measurement:
    """Return the stored trial of this training; without one, run a trial, a small one where a step is long, and store it.

    On a CPU it runs in a child process: memory that it leaves in the heap would add to the run's peak. `say` is called with a line
    before a trial, which takes seconds. `idle_bytes` is what this process held before it computed anything (None: what it holds
    now).
    """
    trial = kept_trial(recipe, policy, dataset)
    if trial is None:
        if say is not None:
            say(NOTICE)
        expected = expected_step_seconds(recipe, dataset.vocabulary_size, recipe.train.batch, peak_flops(policy))
        # Without an evaluation and a checkpoint the peak of memory would be up to a third too low.
        whole = expected < LONGEST_WHOLE_SECONDS
        steps = TIMED_STEPS if expected < LONG_STEP_SECONDS else 1
        apart = policy.device == "cpu" and not policy.compile and policy.ranks == 1
        trial = (_tried_apart if apart else _tried_inside)(recipe, policy, dataset, steps, whole)
        keep_trial(trial, recipe, policy, dataset)
        if not apart:
            # Its compiled steps are reused by the run, whose first one takes no longer than the others.
            return dataclasses.replace(trial, first_step_seconds=0.0)
    release_freed_memory()
    return in_this_process(trial, policy, idle_bytes)


def _tried_apart(recipe: Recipe, policy: Policy, dataset: Dataset, steps: int, whole: bool) -> Measurement:
    """Run a trial in a child process; LabError where the training can't run here."""
    options: dict[str, Any] = {"steps": steps, "seconds": PROBE_SECONDS, "whole": whole, "put_back": False}
    found = measure(recipe, policy, dataset.folder, **options)
    if found.was_too_long:
        return counted_trial(recipe, policy, dataset.vocabulary_size, peak_flops(policy))
    if found.failed is not None:
        raise refusal(found.failed)
    return found


def _tried_inside(recipe: Recipe, policy: Policy, dataset: Dataset, steps: int, whole: bool) -> Measurement:
    """Run a trial in this process, whose compiled steps and memory on a GPU the run reuses."""
    with trial_folder() as work:
        extent = Extent(
            steps=steps,
            seconds=PROBE_SECONDS,
            whole=whole,
            put_back=False,  # most runs don't, and memory that a trial holds here adds to the run's own peak
            folder=work.path,
        )
        found = Trial(recipe, policy, dataset).go(extent, _nothing)
    # Its model and buffers are in reference cycles; the run needs their memory.
    gc.collect()
    release_freed_memory()
    return Measurement(micro_batch=policy.micro_batch, batch=recipe.train.batch, **found)


def refusal(failed: str) -> LabError:
    """Return the error for a failed trial."""
    return LabError(
        f"this training can't be run here: {failed}; try a smaller train.micro_batch, model.width or model.context"
    )


def in_this_process(trial: Measurement, policy: Policy, idle_bytes: int | None = None) -> Measurement:
    """Convert a trial of another process to the peak of memory of a run in this one.

    The training's own part is the trial's; it is added to what this process holds: `idle_bytes` (None: what it holds now).
    """
    device = policy.torch_device
    idle = held_memory_bytes(device) if idle_bytes is None else idle_bytes
    earlier = peak_memory_bytes(device)
    if not idle or not trial.idle_memory_bytes:  # the system doesn't report it
        return trial

    def here(peak: int) -> int:
        return max(earlier, idle + peak - trial.idle_memory_bytes) if peak else 0

    return dataclasses.replace(
        trial,
        idle_memory_bytes=idle,
        earlier_peak_bytes=earlier,
        peak_memory_bytes=here(trial.peak_memory_bytes),
        peak_with_earlier_best_bytes=here(trial.peak_with_earlier_best_bytes),
    )


def _nothing() -> None:
    """Do nothing when the trial's first step begins."""
