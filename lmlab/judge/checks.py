"""The checks of a judge: each is a figure with its interval, a limit, and whether the judge keeps it.

All are about answers of known quality (`texts.py`), so that none needs a person, except calibration. A check fails only where the
figure's whole interval is beyond the limit, except for those that have to be shown (the order of the ladder, and that the reference
beats each bad answer): these fail until they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab.judge.rounds import Replies
from lmlab.judge.texts import AGAIN, BAD_CONTROLS, LADDER, REFERENCE, REPEATED, RUNGS, STYLED, STYLES
from lmlab.judge.verdicts import compare, difference_p_value
from lmlab.stats.bootstrap import Interval
from lmlab.stats.false_verdicts import false_verdicts
from lmlab.stats.kendall import kendall_tau_within
from lmlab.stats.order import order_consistency
from lmlab.stats.proportion import wilson
from lmlab.stats.scores import mean_score
from lmlab.stats.slopes import slopes

MOST_FAILURES = 0.1
MOST_CREDIT = 1 / 3
"""Of the reference's score, which a bad control may get."""
LEAST_TAU = 0.3
MOST_STYLE = 0.1
"""Of the distance between the reference and the lowest rung, which a change of style alone may bring."""
LEAST_STYLE_LIMIT = 2.0
"""Points that a change of style may bring in any case."""
TOO_WIDE = 3.0
"""An interval that reaches beyond so many times the limit says nothing about a bias of that size."""
MOST_PLACE = 10.0
"""Points that the place in the prompt may bring, of 100."""
MOST_PREFERENCE = 0.1
"""Points of the answer shown first, minus a half."""
BLOCK = 10
"""Questions of an A/A comparison."""
SIGNIFICANT = 0.05
NO_ROOM = (10.0, 90.0)
"""A mean of the styled text outside of these leaves a bias little room to show."""


CHECKPOINTS = "ladder: checkpoints of "


@dataclass(frozen=True, kw_only=True)
class Check:
    """One property of a judge."""

    name: str
    fit: bool | None
    """None: nothing could be said."""
    figure: str
    """What was measured, in words."""
    limit: str
    """What is expected."""
    values: Mapping[str, Any]
    """The figures as plain values."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json and files."""
        return {"name": self.name, "fit": self.fit, "figure": self.figure, "limit": self.limit, **self.values}


def replies_check(replies: Replies) -> Check:
    """Return whether the judge's replies can be read."""
    failed, asked = sum(replies.failed.values()), len(replies.asks)
    low, high = wilson(failed / asked, asked) if asked else (math.nan, math.nan)
    reasons = ", ".join(f"{count} {reason}" for reason, count in replies.failed.most_common())
    return Check(
        name="replies",
        fit=low <= MOST_FAILURES if asked else None,
        figure=f"{failed} of {asked} unread ({failed / max(1, asked):.1%}{'; ' + reasons if reasons else ''})",
        limit=f"at most {MOST_FAILURES:.0%}",
        values={"failed": failed, "asked": asked, "low": low, "high": high, "reasons": dict(replies.failed)},
    )


def control_checks(replies: Replies) -> list[Check]:
    """Return for each bad control whether the reference is shown to beat it, and whether it gets little credit."""
    found = []
    reference = replies.names.index(REFERENCE)
    pairs = [(reference, replies.names.index(name)) for name in BAD_CONTROLS]
    for name, compared in zip(BAD_CONTROLS, compare(replies, pairs), strict=True):
        mean = mean_score(replies.duel(reference, replies.names.index(name))[1])
        top = mean_score(replies.duel(reference, replies.names.index(name))[0]).mean.estimate
        credited = replies.method != "pairwise" and mean.mean.low > MOST_CREDIT * top
        points = (
            f"{mean.mean.estimate:.1f} of 100" if replies.method != "pairwise" else f"wins {mean.mean.estimate:.0f} %"
        )
        found.append(
            Check(
                name=f"control: {name}",
                fit=compared.kind == "better" and not credited,
                figure=f"{points} {_range(mean.mean)}, the reference {top:.1f}",
                limit="below the reference"
                + ("" if replies.method == "pairwise" else f", and at most {MOST_CREDIT:.0%} of its score"),
                values={"mean": mean.to_json(), "reference": top, "verdict": compared.to_json()},
            )
        )
    return found


def ladder_check(replies: Replies, ladder: Sequence[str] = LADDER, name: str = "ladder: words replaced") -> Check:
    """Return whether the judge orders texts of known order, best first, within questions."""
    places = [replies.names.index(one) for one in ladder]
    scores = ladder_scores(replies, places)
    rank = np.broadcast_to(np.arange(len(ladder), 0, -1.0)[:, None], scores.shape)
    of = np.broadcast_to(np.arange(replies.questions), scores.shape)
    tau = kendall_tau_within(scores.ravel(), rank.ravel(), of.ravel())
    means = np.array([mean_score(row[replies.asked()]).mean.estimate for row in scores])
    in_order = bool(np.all(np.diff(means) < 0))
    shown = tau.low > 0.0 and not tau.high < LEAST_TAU
    return Check(
        name=name,
        fit=None if math.isnan(tau.low) and not math.isnan(tau.estimate) else bool(shown),
        figure=f"tau {tau.estimate:.2f} {_range(tau, 2)}; means {', '.join(f'{mean:.0f}' for mean in means)}"
        + ("" if in_order else " (not in order)"),
        limit=f"above 0, and not below {LEAST_TAU}",
        values={
            "tau": tau.estimate,
            "low": tau.low,
            "high": tau.high,
            "questions": tau.units,
            "ladder": list(ladder),
            "means": means.tolist(),
            "in_order": in_order,
        },
    )


def ladder_scores(replies: Replies, places: Sequence[int]) -> NDArray[np.float64]:
    """Return [rungs, questions]: the scores, or of pairs the points against the other rungs."""
    if replies.method != "pairwise":
        return replies.scores()[list(places)]
    points = [[replies.duel(one, other)[0] for other in places if other != one] for one in places]
    return np.asarray(np.mean(points, axis=1))


def again_check(replies: Replies, names: Sequence[str] = REPEATED) -> Check:
    """Return how often texts are called different from themselves: comparisons of BLOCK questions each, at the 5 % level."""
    false = comparisons = 0
    spreads = []
    for name in names:
        first, second = replies.duel(replies.names.index(name), replies.names.index(name + AGAIN))
        apart = first - second
        apart = apart[~np.isnan(apart)]
        spreads += [float(np.std(apart, ddof=1))] if len(apart) > 1 else []
        for begin in range(0, len(apart) - BLOCK + 1, BLOCK):
            comparisons += 1
            false += difference_p_value(apart[begin : begin + BLOCK]) < SIGNIFICANT
    found = false_verdicts(false, comparisons)
    spread = float(np.mean(spreads)) if spreads else math.nan
    return Check(
        name="the same text twice",
        fit=not found.too_many if comparisons else None,
        figure=f"{false} false verdicts in {comparisons} comparisons; scores differ by {spread:.1f} (SD)",
        limit=f"at most {SIGNIFICANT:.0%} false",
        values={**found.to_json(), "spread": spread, "block": BLOCK},
    )


def style_checks(replies: Replies) -> list[Check]:
    """Return what each change of style alone brings, in points, against the span of the ladder."""
    base = replies.names.index(STYLED)
    top, bottom = replies.duel(replies.names.index(LADDER[0]), replies.names.index(RUNGS[-1]))
    span = float(np.nanmean(top - bottom)) if not np.isnan(top - bottom).all() else math.nan
    level = float(np.nanmean(replies.scores()[base])) if not np.isnan(replies.scores()[base]).all() else math.nan
    room = replies.method == "pairwise" or NO_ROOM[0] <= level <= NO_ROOM[1]
    found = []
    for name in STYLES:
        pair = (replies.names.index(name), base)
        compared = compare(replies, [pair])[0]
        most = max(MOST_STYLE * abs(span), LEAST_STYLE_LIMIT)
        beyond = compared.low > most or compared.high < -most
        told = beyond or max(compared.high, -compared.low) <= TOO_WIDE * most
        biased = compared.kind != "indistinguishable"
        figure = f"{compared.difference:+.1f} points ({compared.low:+.1f} to {compared.high:+.1f})"
        note = "" if room else f"; the text itself gets {level:.0f}, which hides a bias"
        found.append(
            Check(
                name=f"style: {name}",
                fit=not beyond if told and not math.isnan(span) else None,
                figure=figure + (", a bias" if biased else "" if told else ", too wide to tell") + note,
                limit=f"within {most:.1f} points",
                values={**compared.to_json(), "span": span, "room": room, "biased": biased},
            )
        )
    return found


def place_check(replies: Replies) -> Check | None:
    """Return whether the place in the prompt changes the score; None if a prompt shows one answer."""
    if replies.method == "score":
        return None
    if replies.method == "pairwise":
        return _order_check(replies)
    scores, place, question, candidate = replies.places()
    span = float(max((len(ask.shown) - 1 for ask in replies.asks), default=0))
    if len(scores) < 2 or span == 0:
        return None
    # Relative to the question and to the candidate: the orders are random, so that only the place remains.
    slope = slopes(scores, {"place": place}, question, candidate).of["place"]
    points, low, high = (span * value for value in (slope.slope, slope.low, slope.high))
    return Check(
        name="place in the prompt",
        fit=None if math.isnan(low) else not (low > MOST_PLACE or high < -MOST_PLACE),
        figure=f"{points:+.1f} points from first to last ({low:+.1f} to {high:+.1f})",
        limit=f"within {MOST_PLACE:.0f} points",
        values={"points": points, "low": low, "high": high, "answers": len(scores)},
    )


def _order_check(replies: Replies) -> Check:
    """Return whether verdicts on pairs are those of the exchanged pairs."""
    pairs = sorted({(min(ask.shown), max(ask.shown)) for ask in replies.asks if len(set(ask.shown)) == 2})
    columns = [replies.verdicts(pair) for pair in pairs]
    in_order, exchanged = (np.concatenate([column[side] for column in columns]) for side in (0, 1))
    of = np.tile(np.arange(replies.questions), len(pairs))
    asked = np.tile(replies.asked(), len(pairs))
    found = order_consistency(in_order[asked], exchanged[asked], of[asked])
    beyond = found.bias.low > MOST_PREFERENCE or found.bias.high < -MOST_PREFERENCE
    unrelated = found.consistent.low <= found.by_chance
    return Check(
        name="order of a pair",
        fit=not beyond and not unrelated if found.consistent.trials else None,
        figure=f"{found.consistent.estimate:.0%} consistent (by chance {found.by_chance:.0%}); the first shown gets "
        f"{found.bias.estimate:+.0%} {_range(found.bias, 2)}",
        limit=f"more consistent than by chance, and within {MOST_PREFERENCE:.0%}",
        values=found.to_json(),
    )


def _range(interval: Interval, digits: int = 1) -> str:
    return f"({interval.low:.{digits}f} to {interval.high:.{digits}f})"
