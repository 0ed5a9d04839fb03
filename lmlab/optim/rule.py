"""The base class of optimizers: groups of parameters with their settings, named state tensors, and a step.

It has only the two attributes of torch.optim.Optimizer that are used here. Deriving from it would load PyTorch's compiler on first
use, which takes longer than the rest of the start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Owners(Protocol):
    """The ranks among which a rule may divide its work."""

    rank: int
    ranks: int

    def gathered(self, part: Tensor) -> Tensor:
        """Return the ranks' parts, which have one shape, one after the other along the first axis."""


class Rule(ABC):
    """An update rule: updates some parameters from their gradients, which are the same on all ranks."""

    owners: Owners | None = None
    """The ranks that train together; None for a single process. If a rule communicates, then before it changes anything."""

    def __init__(self, groups: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
        """Each of `groups` has `params`, `lr`, and any settings that differ from the defaults in `settings`."""
        self.param_groups: list[dict[str, Any]] = [{**settings, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @abstractmethod
    def step(self) -> None:
        """Update every parameter that has a gradient."""

    @property
    def gated(self) -> bool:
        """Whether `step_unless` is implemented for these parameters."""
        return False

    def step_unless(self, skip: Tensor) -> None:
        """Do the same, unless `skip`, a bool [] on the parameters' device, is true: then neither weights nor state change.

        The host doesn't wait for the device.
        """
        raise TypeError(f"{type(self).__name__} can't be gated: expected a rule that is `gated`")
