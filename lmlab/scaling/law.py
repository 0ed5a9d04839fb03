"""The loss of a model with N parameters trained on D tokens: the law of Hoffmann et al.

    L = E + A / N^alpha + B / D^beta       (arXiv 2203.15556, equation 2)

Input: parameters N and tokens D; output: the loss in nats a token. Repeated tokens are worth less than fresh ones: D is
then the effective number of tokens of arXiv 2305.16264 (equation 5), without its term for excess parameters. Everything here is a
formula; `lmlab.scaling.fit` fits the five parameters to runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmlab import LabError
from lmlab.scaling.estimate import Estimate

REPETITIONS_WORTH = 15.39
"""R* of arXiv 2305.16264: the most that all repetitions together can be worth, in epochs."""
FEW_PASSES = 4.0
"""Epochs up to which a repeated token is nearly as good as a fresh one (arXiv 2305.16264)."""


@dataclass(frozen=True, kw_only=True)
class LossLaw:
    """The five parameters of the law, for one text and tokenizer."""

    entropy: float
    """E: the irreducible loss, in nats a token."""
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float, unique_tokens: float | None = None) -> float:
        """Return the loss in nats a token after training on `tokens`, of which `unique_tokens` are distinct (None: all)."""
        by_data = self.b / effective_tokens(tokens, unique_tokens) ** self.beta
        found: float = self.entropy + self.a / parameters**self.alpha + by_data
        return found


@dataclass(frozen=True, kw_only=True)
class PublishedLaw:
    """A published law with the range of the runs that it was fitted to."""

    law: LossLaw
    source: str
    parameters: tuple[float, float]
    """The smallest and the largest model that it was fitted to."""
    tokens: tuple[float, float]
    """The shortest and the longest training."""

    def expected(
        self, parameters: float, tokens: float, vocabulary: int, unique_tokens: float | None = None
    ) -> Estimate | None:
        """Return the expected loss on another text with another tokenizer; None if the law can't be applied.

        That is if size or length is more than NEAR times outside the fitted range, or if the interval would reach the loss of
        a uniform prediction over `vocabulary` tokens. Otherwise the half-width is PUBLISHED_SPREAD, and outside of the
        fitted range as much more for each factor of e, with an alarm.
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
"""Factor outside the fitted range up to which a published law is applied."""
PUBLISHED_SPREAD = 0.25
"""Relative half-width of a published law's interval on another text. One 163M model trained on 3.3B tokens of web text by
a dozen recipes reached 3.54 to 3.94, where BESIROGLU predicts 3.18."""

BESIROGLU = PublishedLaw(
    law=LossLaw(entropy=1.8172, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658),
    source="the law of arXiv 2203.15556 as arXiv 2404.10102 refitted it",
    parameters=(70e6, 16e9),
    tokens=(5e9, 5e11),
)
"""Standard errors: entropy .026, a 124.6, b 1293, alpha .015, beta .021. The constants that arXiv 2203.15556 itself prints are
rounded so far that they don't reproduce its own model."""


def effective_tokens(tokens: float, unique_tokens: float | None) -> float:
    """Return the number of fresh tokens that are worth as much as `tokens` of which only `unique_tokens` are distinct (None:
    all).
    """
    if unique_tokens is None or tokens <= unique_tokens:
        return tokens
    repetitions = tokens / unique_tokens - 1.0
    return unique_tokens * (1.0 - REPETITIONS_WORTH * math.expm1(-repetitions / REPETITIONS_WORTH))


def leaving(figures: dict[str, float], ranges: dict[str, tuple[float, float]]) -> list[str]:
    """Return a phrase for each figure outside its range, with how far it is outside; [] if all are inside."""
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
"""A figure outside a range by less than this factor counts as inside."""


def _times(factor: float) -> str:
    return f"{factor:,.1f} times" if factor < 100.0 else f"{factor:,.0f} times"
