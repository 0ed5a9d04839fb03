"""Model shapes by size, for text that has no recipe yet.

A shape's parameters are those of blocks and head at a small vocabulary, rounded, without n-gram tables. The rates were tested at 1M
only; those of the other sizes fall with width by the usual rule, and were not measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """A shape with a suitable batch and learning rates."""

    layers: int
    heads: int
    width: int
    context: int
    batch: int
    lr: float
    """Muon's peak rate for matrices."""
    adam_lr: float
    """AdamW's peak rate for the rest."""
    parameters: int
    """Approximate number, including embeddings of a small vocabulary."""


SIZES = {
    "300k": Size(layers=3, heads=3, width=96, context=128, batch=16, lr=0.02, adam_lr=5e-3, parameters=350_000),
    "1M": Size(layers=4, heads=4, width=128, context=128, batch=16, lr=0.02, adam_lr=5e-3, parameters=800_000),
    "3M": Size(layers=5, heads=4, width=224, context=256, batch=16, lr=0.02, adam_lr=4e-3, parameters=3_000_000),
    "10M": Size(layers=6, heads=6, width=384, context=256, batch=32, lr=0.02, adam_lr=3e-3, parameters=10_700_000),
    "30M": Size(layers=9, heads=8, width=512, context=512, batch=32, lr=0.02, adam_lr=2e-3, parameters=28_500_000),
    "124M": Size(layers=12, heads=12, width=768, context=1024, batch=32, lr=0.02, adam_lr=1e-3, parameters=85_000_000),
}
DEPTH_POWER = math.log(SIZES["124M"].layers / SIZES["300k"].layers) / math.log(
    SIZES["124M"].width / SIZES["300k"].width
)
"""0.67: a model twice as wide is about 1.6 times as deep."""


def nearest_size(parameters: float) -> Size:
    """Return the size whose parameters are nearest to `parameters`, as a ratio."""
    return min(SIZES.values(), key=lambda size: abs(math.log(size.parameters / parameters)))


def adam_rate(width: int) -> float:
    """Return AdamW's peak rate at a width: interpolated linearly between the sizes on logarithmic axes, and 1 / width above
    them.
    """
    sizes = sorted(SIZES.values(), key=lambda size: size.width)
    if width >= sizes[-1].width:
        return sizes[-1].adam_lr * sizes[-1].width / width
    above = next(size for size in sizes if size.width > width)
    below = max((size for size in sizes if size.width <= width), key=lambda size: size.width, default=above)
    if below.adam_lr == above.adam_lr:
        return below.adam_lr
    part = math.log(width / below.width) / math.log(above.width / below.width)
    return float(below.adam_lr * (above.adam_lr / below.adam_lr) ** part)
