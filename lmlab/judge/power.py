"""Before anything is generated: what difference so many questions can show, and whether such models will differ at all.

Spreads (standard deviations over questions of the difference of two models) are assumed until they are measured. That of a judge's
scores is also measured by its examination.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lmlab.stats.proportion import smallest_between
from lmlab.stats.questions import smallest_difference

SCORE_SPREAD = 30.0
"""Points of 100."""
CHRF_SPREAD = 20.0
NATS_SPREAD = 12.0
"""Nats of a whole reference of a sentence."""
DISAGREEMENT = 0.1
"""Share of the questions that exactly one of two models answers with the reference."""
FLOOR_PARAMETERS = 163_000_000
FLOOR_SCORES = (15.2, 16.6)
"""Scores of 110 answers by three instruction-tuned models of 163M parameters, trained on 3.2 billion tokens and judged by GPT-5.1
(G. Thomas, Writing an LLM from scratch). Copies of GPT-2 small and medium had 20.4 and 38.4.
"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What so many questions show of one metric."""

    metric: str
    smallest: float
    """The smallest true difference that is found in four of five cases at the 5 % level."""
    unit: str
    basis: str
    """What that rests on."""

    def line(self) -> str:
        """Return it in words."""
        size = "no difference" if math.isinf(self.smallest) else f"{self.smallest:.3g} {self.unit}"
        return f"{self.metric}: {size} ({self.basis})"


def power_of(questions: int, spread: float | None = None) -> list[Shown]:
    """Return what so many questions show; `spread` is that of the judge's scores (None: assumed)."""
    measured = spread is not None and not math.isnan(spread)
    score = spread if spread is not None and measured else SCORE_SPREAD
    basis = "measured" if measured else "assumed"
    return [
        Shown(
            metric="score of a judge",
            smallest=smallest_difference(score, questions),
            unit="points of 100",
            basis=f"{basis} SD {score:.0f} points",
        ),
        Shown(
            metric="exact match",
            smallest=100 * smallest_between(DISAGREEMENT, questions),
            unit="% of the questions",
            basis=f"assumed that two models differ on {DISAGREEMENT:.0%}",
        ),
        Shown(
            metric="chrF",
            smallest=smallest_difference(CHRF_SPREAD, questions),
            unit="points of 100",
            basis=f"assumed SD {CHRF_SPREAD:.0f}",
        ),
        Shown(
            metric="log-probability of the reference",
            smallest=smallest_difference(NATS_SPREAD, questions),
            unit="nats",
            basis=f"assumed SD {NATS_SPREAD:.0f}",
        ),
    ]


def floor_line(parameters: Sequence[int | None]) -> str:
    """Return whether models of these sizes will be at the floor of a judge's scale; empty where nothing is known of that."""
    known = [count for count in parameters if count is not None]
    if not known or max(known) > FLOOR_PARAMETERS:
        return ""
    low, high = FLOOR_SCORES
    return (
        f"the largest model has {max(known):,} parameters: published ones with 163 million scored {low:.0f} to {high:.0f} of 100, "
        "so these will probably be at the floor of a judge's scale; the log-probability of the reference tells more"
    )
