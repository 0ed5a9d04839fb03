"""An inverse plan: the best model for a budget, and what else was considered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lmlab.planning.inverse.budget import Budget
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Estimate

Limit = Literal["time", "compute", "room", "text", "loss"]


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One recipe with its expected cost and loss."""

    recipe: Recipe
    parameters: int
    """Without n-gram tables."""
    tokens: int
    passes: float
    """Passes over the training split."""
    flops: float
    loss: Estimate | None
    """None where the law doesn't cover such a model; it then only ranks it among the others."""
    seconds: Estimate
    disk: float
    """Bytes of its checkpoints."""
    memory: float
    """Bytes at its micro-batch."""
    within: bool
    """Whether it is within the budget."""


@dataclass(frozen=True, kw_only=True)
class InversePlan:
    """The best recipe, and what less or more time would gain."""

    budget: Budget
    best: Alternative
    table: tuple[Alternative, ...]
    """Alternatives by rising time and falling loss: none is both slower and worse than another. The best is one of them."""
    reached: bool
    """Whether the best is expected to reach the budget's loss; true without one."""
    as_good: tuple[int, int]
    """Parameters of the smallest and the largest model that come within AS_GOOD of the best in its time."""
    law: str
    """The law that ranks the models."""
    limit: Limit
    """What limits the best; room means memory or disk, and loss means the requested loss, so that there is no other limit."""
