"""Detection of spikes: steps whose loss or gradient norm is far above its recent values, or isn't finite.

Loss and gradient norm each have an exponentially weighted running mean and variance (West's recurrence, with the weights of a
plain mean while there are few values: doi 10.1145/359146.359153). A value with z-score above `train.spike` is a spike. It enters
the statistics clipped at `FURTHEST` standard deviations, so that it doesn't mask the next one.

Adaptive clipping is ZClip's (arXiv 2504.02507, section 3): a gradient norm with a z-score z above a threshold z* is clipped to
mean + z*^2 / z standard deviations, which is the lower the larger z is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from lmlab.optim.limit import clip_limit
from lmlab.recipe import Recipe

MEMORY = 0.97
"""Decay of a value's weight with each later value: an effective window of about 33 steps."""
FIRST_JUDGED = 32
"""Number of values that the statistics need before z-scores are computed."""
SMALLEST_DEVIATION = 0.01
"""Lower limit of the standard deviation as a share of the mean: after nearly equal values a slightly larger one is no spike."""
SMALLEST_NORM_DEVIATION = 0.25
"""The same for gradient norms, whose upper tail is long: an unusual but valid text can double them, and clipping handles that."""
FURTHEST = 3.0
"""Values further above the mean than this many standard deviations enter the statistics clipped to it."""
RECENT = 16
"""Number of steps whose loss and gradient norm are kept for the black box of a later spike."""

Kind = Literal["fine", "spike", "not finite"]


@dataclass
class Running:
    """Exponentially weighted running mean and variance of a quantity."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0

    def deviation(self, smallest: float = SMALLEST_DEVIATION) -> float:
        """Return the standard deviation, at least `smallest` times the mean."""
        return max(math.sqrt(self.variance), smallest * abs(self.mean), 1e-12)

    def z(self, value: float, smallest: float = SMALLEST_DEVIATION) -> float | None:
        """Return the z-score of `value`; None while there are fewer than `FIRST_JUDGED` values."""
        return None if self.count < FIRST_JUDGED else (value - self.mean) / self.deviation(smallest)

    def add(self, value: float) -> None:
        """Update the statistics with a value, clipped to `FURTHEST` standard deviations above the mean."""
        if self.count >= FIRST_JUDGED:
            value = min(value, self.mean + FURTHEST * self.deviation())
        weight = max(1 / (self.count + 1), 1 - MEMORY)
        difference = value - self.mean
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference**2)
        self.count += 1


@dataclass
class GuardState:
    """The guard's part of the run's state, saved in every checkpoint."""

    loss: Running = field(default_factory=Running)
    """Statistics of a step's loss, in mean nats a token."""
    norm: Running = field(default_factory=Running)
    """Statistics of the gradient norm before clipping."""
    recent: list[list[float | None]] = field(default_factory=list)
    """[step, loss, gradient norm] of the last steps, oldest first; None for values that weren't finite."""
    rewinds: int = 0
    """Number of times that the run went back to a checkpoint."""
    boxes: int = 0
    """Number of black boxes written."""


@dataclass(frozen=True, kw_only=True)
class StepVerdict:
    """The guard's classification of one step, before its update."""

    kind: Kind
    loss: float
    norm: float
    loss_z: float | None
    norm_z: float | None
    limit: float
    """The norm that the gradient is clipped to; 0: no clipping."""

    def values(self) -> dict[str, Any]:
        """Return the fields for events.jsonl."""
        return {"loss": self.loss, "loss_z": self.loss_z, "gradient_norm": self.norm, "gradient_norm_z": self.norm_z}

    def sentence(self) -> str:
        """Return the verdict as a sentence."""
        if self.kind == "not finite":
            return f"loss {self.loss:.4g}, gradient norm {self.norm:.4g}: not finite"
        found = [
            f"{name} {value:.4g} lies {z:.1f} standard deviations above its recent mean"
            for name, value, z in (("loss", self.loss, self.loss_z), ("gradient norm", self.norm, self.norm_z))
            if z is not None and z > 0
        ]
        return ", ".join(found) or f"loss {self.loss:.4g}, gradient norm {self.norm:.4g}"


def judge(state: GuardState, recipe: Recipe, step: int, loss: float, norm: float) -> StepVerdict:
    """Return the verdict on a step (from 0) with this loss (mean nats a token) and gradient norm, without changing `state`."""
    threshold, clip = recipe.train.spike, clip_limit(recipe.optim, step)
    finite = math.isfinite(loss) and math.isfinite(norm)
    loss_z = state.loss.z(loss) if finite else None
    norm_z = state.norm.z(norm, SMALLEST_NORM_DEVIATION) if finite else None
    kind: Kind = "fine"
    if not finite:
        kind = "not finite"
    elif threshold and max(loss_z or 0.0, norm_z or 0.0) > threshold:
        kind = "spike"
    adaptive, far = recipe.optim.adaptive_clip, state.norm.z(norm) if finite else None
    if adaptive and far is not None and far > adaptive:
        lower = state.norm.mean + adaptive**2 / far * state.norm.deviation()
        clip = min(clip, lower) if clip else lower
    return StepVerdict(kind=kind, loss=loss, norm=norm, loss_z=loss_z, norm_z=norm_z, limit=clip)


def remember(state: GuardState, step: int, verdict: StepVerdict) -> None:
    """Update `state` with a judged step; values that aren't finite don't enter the statistics."""
    values = [value if math.isfinite(value) else None for value in (verdict.loss, verdict.norm)]
    state.recent = [*state.recent[1 - RECENT :], [step, *values]]
    if verdict.kind == "not finite":
        return
    state.loss.add(verdict.loss)
    state.norm.add(verdict.norm)
