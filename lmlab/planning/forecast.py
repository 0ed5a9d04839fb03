"""Before step 1: how long the run will take and what it will occupy, from a few real steps measured here.

The steps are taken on a model built for the purpose and thrown away, so that the run itself begins untouched. The forecast
is written to forecast.json and scored against what happened in summary.json.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.hardware import peak_memory_bytes
from lmlab.model import parameters as count_parameters
from lmlab.planning.probe import probe
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import bytes_in
from lmlab.training.display import count, duration
from lmlab.training.evaluating import EvaluationPlan
from lmlab.training.policy import Policy

FORMAT = 1
WARM_UP_STEPS = 2
TIMED_STEPS = 8
FEWEST_FOR_A_SPREAD = 4
PROBE_SECONDS = 4.0
"""No more timed steps once they took this long together."""
FORWARD_SHARE = 1 / 3
"""A forward pass is a third of a training step's arithmetic."""
SAVES_ON_DISK = 2
"""The first and the best checkpoint stay besides the latest ones."""
LEAST_CHECKPOINTS = 3
MARGIN_BYTES = 1 << 20
"""For manifests and states, which grow with a run."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run is expected to need. Times in seconds, sizes in bytes."""

    parameters: int
    table_parameters: int
    """Those of them that are in n-gram tables."""
    steps: int
    tokens: int
    epochs: float
    tokens_a_parameter: float
    """Tables apart: a token reads few of their rows."""
    step_seconds: float
    step_seconds_spread: float
    """Half the distance between the quartiles of the timed steps."""
    timed_steps: int
    tokens_per_second: float
    train_seconds: float
    evaluate_seconds: float
    total_seconds: float
    checkpoint_bytes: int
    disk_bytes: int
    peak_memory_bytes: int

    def to_json(self) -> dict[str, Any]:
        """For forecast.json."""
        return {"format": FORMAT, **dataclasses.asdict(self), "evidence": "measured"}

    def line(self) -> str:
        """The forecast in one line."""
        spread = self.total_seconds * self.step_seconds_spread / self.step_seconds
        around = f" (+-{duration(spread)})" if self.timed_steps >= FEWEST_FOR_A_SPREAD else ""
        tables = f" ({count(self.table_parameters)} of them in n-gram tables)" if self.table_parameters else ""
        return (
            f"forecast: {count(self.parameters)} parameters{tables}, {self.steps:,} steps of {self.step_seconds * 1e3:,.0f} ms, "
            f"{count(self.tokens)} tokens ({self.epochs:.2f} epochs, {self.tokens_a_parameter:.2g} a parameter): about "
            f"{duration(self.total_seconds)}{around} at {self.tokens_per_second:,.0f} tokens/s (timed steps: "
            f"{self.timed_steps}), {self.disk_bytes / 1e6:,.0f} MB on disk, {self.peak_memory_bytes / 1e6:,.0f} MB of memory"
        )


def make_forecast(
    recipe: Recipe,
    policy: Policy,
    tokens: np.ndarray,
    vocabulary: int,
    steps: int,
    first_step: int,
    evaluations: EvaluationPlan,
) -> Forecast:
    """The forecast for a run over the training split `tokens` from `first_step` to `steps`, by measuring real steps."""
    began = time.perf_counter()

    def enough(taken: list[float]) -> bool:
        """As many as are wanted, or fewer where they took long; two at least."""
        late = time.perf_counter() - began >= PROBE_SECONDS
        return len(taken) >= WARM_UP_STEPS + TIMED_STEPS or (late and len(taken) >= 2)

    taken, checkpoint_bytes = probe(recipe, policy, tokens, vocabulary, steps, enough)
    times = taken[min(WARM_UP_STEPS, len(taken) - 1) :]
    peak_memory = peak_memory_bytes(policy.torch_device)
    middle = statistics.median(times)
    quartiles = np.quantile(times, [0.25, 0.75])
    left = max(1, steps - first_step)
    step_tokens = recipe.train.batch * recipe.model.context
    train_seconds = left * middle
    evaluate_seconds = evaluations.tokens_in_all(left, recipe.evaluate.every) * middle / step_tokens * FORWARD_SHARE
    parameters = count_parameters(recipe.model, vocabulary)
    return Forecast(
        parameters=parameters["total"],
        table_parameters=parameters["ngrams"],
        steps=left,
        tokens=left * step_tokens,
        epochs=left * step_tokens / len(tokens),
        tokens_a_parameter=left * step_tokens / (parameters["total"] - parameters["ngrams"]),
        step_seconds=middle,
        step_seconds_spread=float(quartiles[1] - quartiles[0]) / 2,
        timed_steps=len(times),
        tokens_per_second=step_tokens / middle,
        train_seconds=train_seconds,
        evaluate_seconds=evaluate_seconds,
        total_seconds=train_seconds + evaluate_seconds,
        checkpoint_bytes=checkpoint_bytes,
        disk_bytes=disk_bytes(recipe, steps, first_step, checkpoint_bytes, 4 * parameters["total"]),
        peak_memory_bytes=peak_memory,
    )


def disk_bytes(recipe: Recipe, steps: int, first_step: int, checkpoint_bytes: int, weight_bytes: int) -> int:
    """What a run's checkpoints occupy at their most, one that is being written included."""
    train = recipe.train
    whole = train.keep + 1
    older = SAVES_ON_DISK
    if train.keep_every:
        span = math.lcm(train.keep_every, train.checkpoint_every)
        older += max(0, steps // span - first_step // span - train.keep)
    total = checkpoint_bytes * whole + older * (weight_bytes if train.keep_optimizer == "latest" else checkpoint_bytes)
    return total if train.disk is None else min(total, bytes_in(train.disk))


def require_budget(recipe: Recipe, forecast: Forecast) -> None:
    """LabError where `train.disk` is too little for the newest checkpoint, the best one, and one that is being written."""
    least = LEAST_CHECKPOINTS * forecast.checkpoint_bytes + MARGIN_BYTES
    if recipe.train.disk is not None and bytes_in(recipe.train.disk) < least:
        raise LabError(
            f"train.disk {recipe.train.disk} is too little for checkpoints of {forecast.checkpoint_bytes / 1e6:,.1f} MB: the "
            f"newest, the best and the one that is being written take {least / 1e6:,.1f} MB"
        )


def score(forecast: Any, measured: dict[str, float]) -> dict[str, dict[str, float]]:
    """For summary.json: forecast, measured and their ratio for each figure that both have."""
    kept = forecast if isinstance(forecast, dict) else {}
    figures = {name: kept.get(name) for name in measured}
    return {
        name: {"forecast": figure, "measured": measured[name], "ratio": measured[name] / figure}
        for name, figure in figures.items()
        if isinstance(figure, (int, float)) and figure > 0
    }
