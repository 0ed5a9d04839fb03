"""The gradient noise scale: the batch size up to which a larger batch pays off in proportion to its cost.

With G the true gradient and S the covariance of a sequence's gradient, the mean gradient over B sequences has the expected square
|G|^2 + tr S / B. Two batch sizes b < B determine both (arXiv 1812.06162, appendix A.1):

    |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b)
    tr S  = (|g_b|^2 - |g_B|^2) / (1/b - 1/B)

Their ratio B_noise = tr S / |G|^2 is the noise scale (section 2.2 there): a step with a batch much smaller makes progress in
proportion to its size, one of a larger batch is hardly better, and at B = B_noise it makes half the progress of an exact gradient.
The estimates of one step are noisy, and the ratio of two noisy numbers is biased, so each is smoothed before the division.
"""

from __future__ import annotations

from dataclasses import dataclass

MEMORY = 0.99
"""Decay of a step's weight with each later one: about 100 steps count."""
FEWEST_STEPS = 20
"""Steps before an estimate is given."""


def gradient_square(small_square: float, small: int, large_square: float, large: int) -> float:
    """Return |G|^2 from the squared norms of mean gradients over `small` and over `large` sequences; a single estimate may be
    negative.
    """
    return (large * large_square - small * small_square) / (large - small)


def noise_trace(small_square: float, small: int, large_square: float, large: int) -> float:
    """Return tr S of one sequence, from the same norms."""
    return (small_square - large_square) / (1 / small - 1 / large)


@dataclass
class GradientNoise:
    """Both estimates, smoothed over the recent steps; part of a run's state."""

    square: float = 0.0
    """|G|^2."""
    trace: float = 0.0
    """tr S."""
    steps: int = 0
    """Number of measured steps."""

    def add(self, small_norm: float, small: int, large_norm: float, large: int) -> None:
        """Add a step: the norms of the mean gradients over its first `small` sequences and over all `large` of them."""
        weight = max(1 / (self.steps + 1), 1 - MEMORY)
        measured = (small_norm**2, small, large_norm**2, large)
        self.square += weight * (gradient_square(*measured) - self.square)
        self.trace += weight * (noise_trace(*measured) - self.trace)
        self.steps += 1

    def scale(self) -> float | None:
        """Return the noise scale in sequences; None if there are too few steps, or the estimates aren't positive."""
        if self.steps < FEWEST_STEPS or self.square <= 0 or self.trace <= 0:
            return None
        return self.trace / self.square


def useful_batch_line(noise: GradientNoise, batch: int, context: int) -> str:
    """Return a sentence that compares a run's batch with the noise scale; empty if nothing was measured."""
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
    """Return the value rounded to two significant digits, the precision of the estimate."""
    return round(float(f"{value:.1e}")) or 1
