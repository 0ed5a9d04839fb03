"""Model shapes by size, for text that has no recipe yet: `lmlab train my.txt --size 10M`.

A size names its parameters in blocks and head at a small vocabulary, rounded. The rates were tried at 1M only; those of the
other sizes fall with width as is usual, and are not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab import LabError


@dataclass(frozen=True, kw_only=True)
class Size:
    """A shape with the batch and rates that suit it."""

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
    """About how many, embeddings of a small vocabulary included."""


SIZES = {
    "300k": Size(layers=3, heads=3, width=96, context=128, batch=16, lr=0.02, adam_lr=5e-3, parameters=350_000),
    "1M": Size(layers=4, heads=4, width=128, context=128, batch=16, lr=0.02, adam_lr=5e-3, parameters=800_000),
    "3M": Size(layers=5, heads=4, width=224, context=256, batch=16, lr=0.02, adam_lr=4e-3, parameters=3_000_000),
    "10M": Size(layers=6, heads=6, width=384, context=256, batch=32, lr=0.02, adam_lr=3e-3, parameters=10_700_000),
    "30M": Size(layers=9, heads=8, width=512, context=512, batch=32, lr=0.02, adam_lr=2e-3, parameters=28_500_000),
    "124M": Size(layers=12, heads=12, width=768, context=1024, batch=32, lr=0.02, adam_lr=1e-3, parameters=85_000_000),
}


def size_named(name: str) -> Size:
    """The size of that name, in any case; LabError with the names there are."""
    for known, size in SIZES.items():
        if known.lower() == name.lower():
            return size
    raise LabError(f"there is no size '{name}': expected one of {', '.join(SIZES)}")
