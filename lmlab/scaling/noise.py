"""The gradient's noise scale: up to which batch size a step becomes better in proportion to what it costs.

With G the true gradient and S the covariance of one sequence's, the mean gradient over B sequences has the expected square
|G|^2 + tr S / B. Two batch sizes b < B tell both (arXiv 1812.06162, appendix A.1):

    |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b)
    tr S  = (|g_b|^2 - |g_B|^2) / (1/b - 1/B)

Their ratio B_noise = tr S / |G|^2 is the noise scale (section 2.2 there): a step of a batch much smaller than it makes progress in
proportion to its size, one of a larger batch is hardly better, and at B = B_noise it makes half the progress of an exact gradient.
One step's estimates are rough, and the ratio of two rough numbers is biased, so each is smoothed before they are divided.
"""

from __future__ import annotations

from dataclasses import dataclass

MEMORY = 0.99
"""What a step's weight shrinks by with each later one: about 100 steps count."""
FEWEST_STEPS = 20
"""Before so many steps the estimate says nothing."""


def gradient_square(small_square: float, small: int, large_square: float, large: int) -> float:
    """|G|^2, from the squared norms of mean gradients over `small` and over `large` sequences; one draw may be negative."""
    return (large * large_square - small * small_square) / (large - small)


def noise_trace(small_square: float, small: int, large_square: float, large: int) -> float:
    """tr S, a sequence's, from the same."""
    return (small_square - large_square) / (1 / small - 1 / large)


@dataclass
class GradientNoise:
    """Both estimates, smoothed over the recent steps; a part of a run's state."""

    square: float = 0.0
    """|G|^2."""
    trace: float = 0.0
    """tr S."""
    steps: int = 0
    """Steps that were measured."""

    def add(self, small_norm: float, small: int, large_norm: float, large: int) -> None:
        """Take in a step: the norms of the mean gradients over its first `small` sequences and over all `large` of them."""
        weight = max(1 / (self.steps + 1), 1 - MEMORY)
        measured = (small_norm**2, small, large_norm**2, large)
        self.square += weight * (gradient_square(*measured) - self.square)
        self.trace += weight * (noise_trace(*measured) - self.trace)
        self.steps += 1

    def scale(self) -> float | None:
        """The noise scale in sequences; None where there are too few steps, or only noise, to tell it."""
        if self.steps < FEWEST_STEPS or self.square <= 0 or self.trace <= 0:
            return None
        return self.trace / self.square


def useful_batch_line(noise: GradientNoise, batch: int, context: int) -> str:
    """What the noise scale says of a run's batch, in words; empty where nothing was measured."""
    scale = noise.scale()
    if scale is None:
        return ""
    sequences = "a sequence" if rounded(scale) == 1 else f"{rounded(scale):,} sequences"
    known = f"useful batch: up to about {sequences} ({rounded(scale * context):,} tokens, the gradient noise scale)"
    if scale < batch / 2:
        return f"{known}; train.batch {batch} is above it, so a smaller batch would learn nearly as much in a step"
    if scale > 2 * batch:
        return f"{known}; train.batch {batch} is below it, so twice the batch would need about half the steps"
    return f"{known}; train.batch {batch} is near it, where a larger batch begins to pay less"


def rounded(value: float) -> int:
    """Two significant digits: the estimate has no more."""
    return round(float(f"{value:.1e}")) or 1
