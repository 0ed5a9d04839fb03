"""The loss law of a plan for other sizes and lengths: of the user's own runs, of lmlab's small runs, or a published one.

They count a model's size differently, so a law takes recipes and not numbers of parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from lmlab.model.cost import parameters
from lmlab.planning.inverse.shapes import counted_parameters
from lmlab.planning.losses.small_runs import Like
from lmlab.recipe import Recipe
from lmlab.scaling.estimate import Estimate
from lmlab.scaling.fit import FittedLaw
from lmlab.scaling.law import BESIROGLU, PublishedLaw, effective_tokens
from lmlab.scaling.small_law import Traits

FURTHEST = 10.0
"""The law of the user's own runs isn't applied to trainings with more than this many times the tokens or parameters of the
largest."""


@dataclass(frozen=True, kw_only=True)
class KnownLaw:
    """(parameters, tokens, different tokens) -> nats a token, and how it counts a model's parameters."""

    expected: Callable[[float, float, float], Estimate | None]
    """With interval and alarm; None where the law doesn't cover such a training."""
    rank: Callable[[float, float, float], float]
    """Only the value: faster, and defined for every size and length, so that it ranks models without an expected loss."""
    size: Callable[[Recipe], float]
    """A recipe's parameters as the law counts them."""
    fitted: bool
    """Whether it was fitted to runs of this text and tokenizer."""
    source: str


def published_law(vocabulary: int, law: PublishedLaw = BESIROGLU) -> KnownLaw:
    """Return a published law, for a text with so many token ids; it counts all parameters except those of n-gram tables."""
    return KnownLaw(
        expected=lambda size, tokens, unique: law.expected(size, tokens, vocabulary, unique),
        rank=law.law.loss,
        size=lambda recipe: float(counted_parameters(recipe, vocabulary)),
        fitted=False,
        source=law.source,
    )


def law_of_small_runs(like: Like, vocabulary: int) -> KnownLaw:
    """Return the law of lmlab's published small runs, for trainings that differ from that of `like` only in size and length."""

    def traits(matrix: float, tokens: float, unique: float) -> Traits:
        return like.at(matrix, effective_tokens(tokens, unique))

    def expected(matrix: float, tokens: float, unique: float) -> Estimate | None:
        return like.expected(traits(matrix, tokens, unique))

    return KnownLaw(
        expected=expected,
        rank=lambda matrix, tokens, unique: like.law.loss(traits(matrix, tokens, unique)),
        size=lambda recipe: float(parameters(recipe.model, vocabulary)["matrix"]),
        fitted=False,
        source=like.law.expected(like.traits).rests_on,
    )


def own_law(law: FittedLaw, vocabulary: int) -> KnownLaw:
    """Return a law of the user's own runs (`lmlab.planning.forecasts.history`), which counts the parameters in matrix products."""

    def expected(size: float, tokens: float, unique: float) -> Estimate | None:
        return law.expected(size, tokens, unique) if near(law, size, tokens) else None

    return KnownLaw(
        expected=expected,
        rank=law.law.loss,
        size=lambda recipe: float(parameters(recipe.model, vocabulary)["matrix"]),
        fitted=True,
        source=f"a law fitted to {len(law.points):,} runs",
    )


def anchored(known: KnownLaw, factor: float, words: str) -> KnownLaw:
    """Return the same law times `factor`, so that it passes through the known loss of one training; `words` describe that."""

    def expected(size: float, tokens: float, unique: float) -> Estimate | None:
        found = known.expected(size, tokens, unique)
        return (
            None if found is None else dataclasses.replace(found.scaled(factor), rests_on=f"{found.rests_on}, {words}")
        )

    def rank(size: float, tokens: float, unique: float) -> float:
        return factor * known.rank(size, tokens, unique)

    return dataclasses.replace(known, expected=expected, rank=rank, source=f"{known.source}, {words}")


def near(law: FittedLaw, size: float, tokens: float) -> bool:
    """Return whether the law of the user's own runs covers a training: at most FURTHEST times their largest size and length."""
    return size <= FURTHEST * max(point.parameters for point in law.points) and tokens <= FURTHEST * max(
        point.tokens for point in law.points
    )
