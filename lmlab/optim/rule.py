"""What every optimizer here is: groups of parameters with their settings, named tensors as each one's state, and a step.

It has the two attributes of PyTorch's Optimizer that are used here, and nothing else of it: the first use of PyTorch's own
loads PyTorch's compiler, which takes longer than all the rest of a start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class Rule(ABC):
    """How some parameters are updated from their gradients."""

    def __init__(self, groups: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
        """`groups` each with `params` and `lr`, and what else they set differently from `settings`."""
        self.param_groups: list[dict[str, Any]] = [{**settings, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @abstractmethod
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
