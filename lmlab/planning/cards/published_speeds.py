"""Published training speeds on named cards, shown beside a forecast and used to fit it.

G. Thomas, "Writing an LLM from scratch", part 28: GPT-2 small's shape on one RTX 3090 by batch and precision
S. Raschka, LLMs-from-scratch, chapter 5 bonus: the same shape on one A100, from plain code to a compiled model
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmlab.hardware.cards import BYTES, Card, Fusing
from lmlab.recipe import GPT, Recipe

SAME_VOCABULARY = 0.01
"""Relative difference below which vocabularies, such as a padded one, count as the same shape."""
HALF_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class PublishedRate:
    """One measured speed of a training on one card."""

    card: str
    precision: str
    fusing: Fusing
    batch: int
    """Sequences of a step."""
    tokens_per_second: float
    source: str
    vocabulary: int = 50_257
    micro_batch: int | None = None
    """Sequences of a pass, where a step has several."""
    note: str = ""
    """A description of what else the code did."""

    def words(self) -> str:
        """Describe the measurement."""
        passes = "" if self.micro_batch is None else f" in passes of {self.micro_batch}"
        fused = {"nothing": "no fused attention", "attention": "fused attention", "all": "compiled"}[self.fusing]
        note = f", {self.note}" if self.note else ""
        return (
            f"{self.tokens_per_second:,.0f} tokens/s with {self.precision}, batch {self.batch}{passes}, {fused}{note} "
            f"({self.source})"
        )


SHAPE = GPT(layers=12, heads=12, width=768, context=1024, tied=False, qkv_bias=False)
"""GPT-2 small's, which all of these trained."""
THOMAS, RASCHKA = "G. Thomas, part 28", "S. Raschka, chapter 5"


def _by_batch(precision: str, rates: tuple[int, ...], note: str = "") -> tuple[PublishedRate, ...]:
    return tuple(
        PublishedRate(
            card="rtx3090",
            precision=precision,
            fusing="nothing",
            batch=batch,
            tokens_per_second=rate,
            source=THOMAS,
            note=note,
        )
        for batch, rate in enumerate(rates, 1)
    )


def _a100(
    precision: str, fusing: Fusing, rate: int, note: str, vocabulary: int = 50_257, batch: int = 4
) -> PublishedRate:
    return PublishedRate(
        card="a100-40",
        precision=precision,
        fusing=fusing,
        batch=batch,
        tokens_per_second=rate,
        source=RASCHKA,
        vocabulary=vocabulary,
        note=note,
    )


RATES = (
    *_by_batch("fp32", (10_005, 11_464, 12_087, 12_367, 12_599)),
    *_by_batch("tf32", (11_934, 13_627, 14_885, 14_779, 15_402)),
    *_by_batch("fp16", (13_696, 16_611, 18_479, 19_145, 19_797, 19_997), "tf32 beside it"),
    *_by_batch("fp16", (13_344, 16_465, 18_301, 19_000, 19_721, 19_921)),
    PublishedRate(
        card="rtx3090",
        precision="fp16",
        fusing="nothing",
        batch=96,
        micro_batch=6,
        tokens_per_second=20_979,
        source=THOMAS,
    ),
    _a100("fp32", "nothing", 12_525, "plain code"),
    _a100("tf32", "nothing", 27_648, "plain code"),
    _a100("tf32", "nothing", 28_399, "fused AdamW"),
    _a100("bf16", "nothing", 45_486, "weights in bf16"),
    _a100("bf16", "nothing", 55_256, "weights in bf16, native layer norm and GELU"),
    _a100("bf16", "attention", 91_901, "weights in bf16"),
    _a100("bf16", "all", 112_046, "weights in bf16"),
    _a100("bf16", "all", 127_345, "weights in bf16, padded vocabulary", 50_304),
    _a100("bf16", "all", 142_156, "weights in bf16, padded vocabulary", 50_304, 32),
)


def published_for(recipe: Recipe, vocabulary: int, card: Card) -> PublishedRate | None:
    """Return the measurement for this card, shape and precision at the nearest batch and with the most fused; None without any."""
    model = recipe.model
    if not isinstance(model, GPT):
        return None
    shape = (model.layers, model.width, model.context)
    if shape != (SHAPE.layers, SHAPE.width, SHAPE.context):
        return None
    precision = card.precision_of(recipe.train.precision)

    def alike(rate: PublishedRate) -> bool:
        same = rate.precision == precision or BYTES[rate.precision] == BYTES[precision] == HALF_BYTES
        return rate.card == card.name and same and abs(rate.vocabulary / vocabulary - 1) < SAME_VOCABULARY

    found = [rate for rate in RATES if alike(rate)]
    return min(found, key=lambda rate: (_distance(rate, recipe), bool(rate.note)), default=None)


def _distance(rate: PublishedRate, recipe: Recipe) -> float:
    """Return the distance of the pass's batch in logarithms; 0.5 more where fusing differs from the recipe's training."""
    train = recipe.train
    apart = abs(math.log((rate.micro_batch or rate.batch) / (train.micro_batch or train.batch)))
    return apart + (0.5 if (rate.fusing == "all") != (train.compile != "off") else 0.0)
