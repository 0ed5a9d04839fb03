"""The loss law that a plan asks about other sizes and lengths: of one's own runs where there is one, else a published one.

The two count a model's size differently, so a law is asked about recipes and not about numbers of parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmlab.model import parameters
from lmlab.planning.shapes import counted_parameters
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Estimate
from lmlab.scaling.fit import FittedLaw
from lmlab.scaling.law import BESIROGLU, PublishedLaw


@dataclass(frozen=True, kw_only=True)
class KnownLaw:
    """(parameters, tokens, different tokens) -> nats a token, with what it takes as a model's parameters."""

    expected: Callable[[float, float, float], Estimate]
    """With interval and alarm; a published one is cut off at what guessing costs."""
    rank: Callable[[float, float, float], float]
    """The value alone: quicker, and never cut off, so that it orders models where `expected` can't."""
    size: Callable[[Recipe], float]
    """A recipe's parameters as the law counts them."""
    fitted: bool
    """Whether it was fitted to runs of this text and tokenizer."""
    source: str


def published_law(vocabulary: int, law: PublishedLaw = BESIROGLU) -> KnownLaw:
    """Somebody's law, for a text with so many token ids; it counts all parameters but those of n-gram tables."""
    return KnownLaw(
        expected=lambda size, tokens, unique: law.expected(size, tokens, vocabulary, unique),
        rank=law.law.loss,
        size=lambda recipe: float(counted_parameters(recipe, vocabulary)),
        fitted=False,
        source=law.source,
    )


def own_law(law: FittedLaw, vocabulary: int) -> KnownLaw:
    """A law of one's own runs (`lmlab.planning.history`), which counts the parameters that every token is multiplied by."""
    return KnownLaw(
        expected=law.expected,
        rank=law.law.loss,
        size=lambda recipe: float(parameters(recipe.model, vocabulary)["matrix"]),
        fitted=True,
        source=f"a law fitted to {len(law.points):,} runs",
    )
