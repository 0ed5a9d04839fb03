"""Loss scaling for float16, whose smallest normal number (6e-5) lies above many gradients.

The loss is multiplied by a scale before the backward pass and the gradients divided by it after. A step whose gradients
overflow is skipped and halves the scale; `GROWTH_INTERVAL` clean steps in a row double it (arXiv 1710.03740, section 3.2).
Unlike torch's GradScaler, its whole state is two numbers that a checkpoint can hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_SCALE = 65_536.0
LARGEST_SCALE = 2.0**24
SMALLEST_SCALE = 1.0
GROWTH_INTERVAL = 2_000


@dataclass
class LossScaler:
    """The loss scale and its update rule."""

    scale: float = FIRST_SCALE
    clean_steps: int = 0
    """Steps without overflow since the scale last changed."""

    @property
    def exhausted(self) -> bool:
        """Whether the scale is at its minimum, so that an overflow can't be caused by it."""
        return self.scale <= SMALLEST_SCALE

    def unscale(self, gradients: Sequence[Tensor]) -> None:
        """Divide the gradients by the scale, in place."""
        torch._foreach_mul_(list(gradients), 1.0 / self.scale)

    def update(self, finite: bool) -> None:
        """Update the scale after a step whose loss and gradients were `finite` or not."""
        if not finite:
            self.scale, self.clean_steps = max(SMALLEST_SCALE, self.scale / 2), 0
            return
        self.clean_steps += 1
        if self.clean_steps == GROWTH_INTERVAL:
            self.scale, self.clean_steps = min(LARGEST_SCALE, self.scale * 2), 0
