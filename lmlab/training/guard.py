"""Which steps are spikes: losses and gradient norms far above what they were lately, or not finite at all.

Each of the two has a running mean and variance that forget exponentially (West's recurrence, with the weights of a plain mean
while there are few values: doi 10.1145/359146.359153). A value is `z` standard deviations above the mean; one beyond
`train.spike` is a spike. However far out it lies, it enters the statistics as a moderate one, so that it doesn't hide the next.

Adaptive clipping is ZClip's (arXiv 2504.02507, section 3): a gradient norm whose z lies above a threshold z* is clipped to
mean + z*^2 / z standard deviations, the further down the further out it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from lmlab.optim import clip_limit
from lmlab.recipe import Recipe

MEMORY = 0.97
"""What a value's weight shrinks by with each later one: about 33 steps count."""
FIRST_JUDGED = 32
"""Values that the statistics need before they say anything of the next."""
SMALLEST_DEVIATION = 0.01
"""As a share of the mean: where nearly equal values follow one another, the next is no spike for being a little larger."""
SMALLEST_NORM_DEVIATION = 0.25
"""The same for gradient norms, whose upper tail is long: a passage that is only rare can double them, and clipping sees to it."""
FURTHEST = 3.0
"""Standard deviations above the mean at which a value enters the statistics that lies further out."""
RECENT = 16
"""Steps of which loss and gradient norm are remembered, to stand before a spike in its black box."""

Kind = Literal["fine", "spike", "not finite"]


@dataclass
class Running:
    """Mean and variance of a quantity, the recent values counting most."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0

    def deviation(self, smallest: float = SMALLEST_DEVIATION) -> float:
        """The standard deviation, at least that share of the mean."""
        return max(math.sqrt(self.variance), smallest * abs(self.mean), 1e-12)

    def z(self, value: float, smallest: float = SMALLEST_DEVIATION) -> float | None:
        """How many standard deviations `value` lies above the mean; None while there are too few values to say."""
        return None if self.count < FIRST_JUDGED else (value - self.mean) / self.deviation(smallest)

    def add(self, value: float) -> None:
        """Take a value in, as no further above the mean than `FURTHEST` standard deviations."""
        if self.count >= FIRST_JUDGED:
            value = min(value, self.mean + FURTHEST * self.deviation())
        weight = max(1 / (self.count + 1), 1 - MEMORY)
        difference = value - self.mean
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference**2)
        self.count += 1


@dataclass
class GuardState:
    """What the guard remembers; a part of the run's state, and so of every checkpoint."""

    loss: Running = field(default_factory=Running)
    """Of the mean nats a token of a step."""
    norm: Running = field(default_factory=Running)
    """Of the gradient's norm before clipping."""
    recent: list[list[float | None]] = field(default_factory=list)
    """[step, loss, gradient norm] of the last steps, oldest first; None for what wasn't finite."""
    rewinds: int = 0
    """How often the run went back to a checkpoint."""
    boxes: int = 0
    """Black boxes written."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the guard says of one step before its update."""

    kind: Kind
    loss: float
    norm: float
    loss_z: float | None
    norm_z: float | None
    limit: float
    """The largest gradient norm that the update may use; 0: any."""

    def values(self) -> dict[str, Any]:
        """For events.jsonl."""
        return {"loss": self.loss, "loss_z": self.loss_z, "gradient_norm": self.norm, "gradient_norm_z": self.norm_z}

    def sentence(self) -> str:
        """The same in words."""
        if self.kind == "not finite":
            return f"loss {self.loss:.4g}, gradient norm {self.norm:.4g}: not finite"
        found = [
            f"{name} {value:.4g} lies {z:.1f} standard deviations above its recent mean"
            for name, value, z in (("loss", self.loss, self.loss_z), ("gradient norm", self.norm, self.norm_z))
            if z is not None and z > 0
        ]
        return ", ".join(found) or f"loss {self.loss:.4g}, gradient norm {self.norm:.4g}"


def judge(state: GuardState, recipe: Recipe, step: int, loss: float, norm: float) -> Verdict:
    """The verdict on a step (the first is 0) with this mean loss (nats a token) and gradient norm; nothing is remembered yet."""
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
    return Verdict(kind=kind, loss=loss, norm=norm, loss_z=loss_z, norm_z=norm_z, limit=clip)


def remember(state: GuardState, step: int, verdict: Verdict) -> None:
    """Take a judged step's values in; values that aren't finite leave no trace in the statistics."""
    values = [value if math.isfinite(value) else None for value in (verdict.loss, verdict.norm)]
    state.recent = [*state.recent[1 - RECENT :], [step, *values]]
    if verdict.kind == "not finite":
        return
    state.loss.add(verdict.loss)
    state.norm.add(verdict.norm)
