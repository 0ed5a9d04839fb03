"""The budget of inverse planning: what a training may take, or must reach.

budget_of(["8h"])  budget_of(["3e17flops"])  budget_of(["8h", "3e17flops"], disk="20GB")  budget_of([], loss=1.5)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lmlab import LabError
from lmlab.recipe.quantities import bytes_in, duration, flops_in, seconds_in


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits, all of which apply; infinite where there is none."""

    seconds: float = math.inf
    """Wall time from the command's start to its end, evaluations included."""
    flops: float = math.inf
    """FLOPs of training, counted exactly (matrix products, attention included)."""
    disk: float = math.inf
    """Bytes of the run's checkpoints."""
    loss: float | None = None
    """The loss to reach in the least time, nats a token."""

    def words(self) -> str:
        """Describe the budget in words."""
        parts = [f"to loss {self.loss:g}"] if self.loss is not None else []
        parts += [duration(self.seconds)] if math.isfinite(self.seconds) else []
        parts += [f"{self.flops:.3g} FLOPs"] if math.isfinite(self.flops) else []
        parts += [f"{self.disk / 1e9:g} GB of disk"] if math.isfinite(self.disk) else []
        return ", ".join(parts)


def budget_of(texts: Sequence[str] = (), loss: float | None = None, disk: str | None = None) -> Budget:
    """Parse the budget from `--budget` (times, or compute), `--loss` and `--disk`; LabError for an invalid one.

    Of several times, or several amounts of compute, the smallest applies.

    >>> budget_of(["8h", "3e17flops"]).flops
    3e+17
    """
    seconds = flops = math.inf
    for text in texts:
        if "flop" in text.lower():
            flops = min(flops, flops_in(text))
        else:
            seconds = min(seconds, _seconds(text))
    if loss is not None and not 0.0 < loss < math.inf:
        raise LabError(f"--loss {loss:g} is not a loss: expected nats a token above 0, such as 1.5")
    if not texts and loss is None and disk is None:
        raise LabError("there is no budget: expected --budget 8h, --budget 3e17flops, --loss 1.5 or --disk 20GB")
    return Budget(seconds=seconds, flops=flops, disk=math.inf if disk is None else float(bytes_in(disk)), loss=loss)


def _seconds(text: str) -> float:
    try:
        return seconds_in(text)
    except LabError:
        raise LabError(
            f"{text[:40]!r} is not a budget: expected a time such as 8h or 90m, or compute such as 3e17flops"
        ) from None
