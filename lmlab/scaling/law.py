"""What a model of so many parameters reaches with so many tokens: the loss law of Hoffmann et al.

    L = E + A / N^alpha + B / D^beta       (arXiv 2203.15556, equation 2)

In come parameters N and tokens D; out comes the loss in nats a token. Tokens that are read again teach less than fresh ones: D is
then what arXiv 2305.16264 (equation 5) makes of it, whose own term for too many parameters is left out. Everything here is a
formula; `lmlab.scaling.fit` finds the five numbers from runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmlab import LabError
from lmlab.scaling.estimate import Estimate

REPETITIONS_WORTH = 15.39
"""R* of arXiv 2305.16264: what all repetitions together can be worth, in passes over the text."""
FEW_PASSES = 4.0
"""Passes over a text up to which a repeated token is nearly as good as a fresh one (arXiv 2305.16264)."""


@dataclass(frozen=True, kw_only=True)
class LossLaw:
    """The five numbers of the law, for one text and tokenizer."""

    entropy: float
    """E: what no model and no text gets below, in nats a token."""
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float, unique_tokens: float | None = None) -> float:
        """Nats a token after training on `tokens`, of which `unique_tokens` are different ones (all, where None)."""
        return (
            self.entropy
            + self.a / parameters**self.alpha
            + self.b / effective_tokens(tokens, unique_tokens) ** self.beta
        )


@dataclass(frozen=True, kw_only=True)
class PublishedLaw:
    """Somebody's law with the runs that it was fitted to."""

    law: LossLaw
    source: str
    parameters: tuple[float, float]
    """The smallest and the largest model that it was fitted to."""
    tokens: tuple[float, float]
    """The shortest and the longest training."""

    def expected(
        self, parameters: float, tokens: float, vocabulary: int, unique_tokens: float | None = None
    ) -> Estimate | None:
        """The loss on another text with another tokenizer; None where the law says nothing of it.

        That is where size or length is more than NEAR times outside what was fitted, and where the interval would reach what
        guessing evenly among `vocabulary` tokens costs. Elsewhere it's taken to be within PUBLISHED_SPREAD, and outside of the
        fitted sizes within as much more for each factor of e; an alarm says so.
        """
        figures, ranges = (
            {"parameters": parameters, "tokens": tokens},
            {"parameters": self.parameters, "tokens": self.tokens},
        )
        leaves = leaving(figures, ranges)
        outside = max(1.0, *(max(figures[name] / ranges[name][1], ranges[name][0] / figures[name]) for name in figures))
        value = self.law.loss(parameters, tokens, unique_tokens)
        spread = PUBLISHED_SPREAD * (1.0 + math.log(outside))
        low, high = value * (1.0 - spread), value * (1.0 + spread)
        if outside > NEAR or high >= math.log(vocabulary):
            return None
        alarm = "fitted to another text and tokenizer than yours"
        return Estimate(
            value=value,
            low=low,
            high=high,
            evidence="published",
            rests_on=self.source,
            alarm=f"{'; '.join(leaves)}; {alarm}" if leaves else alarm,
        )


NEAR = 3.0
"""How many times smaller or larger than the fitted models and lengths a published law is asked about."""
PUBLISHED_SPREAD = 0.25
"""Half-width of what a published law is good for on another text, as a share. One 163M model trained on 3.3B tokens of web text by
a dozen recipes came to between 3.54 and 3.94, where BESIROGLU says 3.18."""

BESIROGLU = PublishedLaw(
    law=LossLaw(entropy=1.8172, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658),
    source="the law of arXiv 2203.15556 as arXiv 2404.10102 refitted it",
    parameters=(70e6, 16e9),
    tokens=(5e9, 5e11),
)
"""Standard errors: entropy .026, a 124.6, b 1293, alpha .015, beta .021. The constants that arXiv 2203.15556 itself prints are
rounded, and so far off that they don't lead to its own model."""


def effective_tokens(tokens: float, unique_tokens: float | None) -> float:
    """How many fresh tokens do as much good as `tokens` of which only `unique_tokens` are different (None: all)."""
    if unique_tokens is None or tokens <= unique_tokens:
        return tokens
    repetitions = tokens / unique_tokens - 1.0
    return unique_tokens * (1.0 - REPETITIONS_WORTH * math.expm1(-repetitions / REPETITIONS_WORTH))


def leaving(figures: dict[str, float], ranges: dict[str, tuple[float, float]]) -> list[str]:
    """Of each figure outside its range, how far it is outside, in words; [] where all are inside."""
    words = []
    for name, figure in figures.items():
        least, most = ranges[name]
        if not figure > 0.0:
            raise LabError(f"{name} is {figure}: expected a number above 0")
        if figure > most * CLOSE:
            words.append(f"{_times(figure / most)} the largest {name} that were fitted")
        elif figure * CLOSE < least:
            words.append(f"1/{_times(least / figure).removesuffix(' times')} of the smallest {name} that were fitted")
    return words


CLOSE = 1.05
"""A figure that is beyond a range by less than this factor counts as inside it."""


def _times(factor: float) -> str:
    return f"{factor:,.1f} times" if factor < 100.0 else f"{factor:,.0f} times"
