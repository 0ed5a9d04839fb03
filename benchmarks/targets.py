"""What the benchmarks must show, each beside what they did: the tables of `docs/performance.md` have both."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import generation, loss, mfu, speed, startup
from benchmarks.results import Comparison, Measurement, Results
from benchmarks.shapes import HEADLINES, small

OURS = ("lmlab native", "lmlab torch")
"""The first of these that was measured is held against a target."""
TABLES, NO_TABLES = "lmlab with tables", "lmlab without tables"
OF_FIRST_CORPUS = 0.8
"""The share of the first corpus's ratio that another corpus must show."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One figure that is promised."""

    what: str
    part: str
    case: str
    sides: tuple[str, ...]
    quantity: str
    bound: float
    at_least: bool = True
    aim: float | None = None
    against: str | None = None
    """A peer: the figure is a ratio."""
    unit: str = "x"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A target and what was measured."""

    target: Target
    side: str | None
    """Whose figure it is; None where nothing was measured."""
    processor: str | None = None
    """Where it was measured."""
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = "not measured"
    """Why there is no figure, where there is none."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where it wasn't measured."""
        if self.measured is None:
            return None
        return self.measured >= self.target.bound if self.target.at_least else self.measured <= self.target.bound


def _ratio(
    what: str, part: str, cases: Sequence[str], sides: tuple[str, ...], quantity: str, against: str, *bounds: float
) -> list[Target]:
    return [
        Target(what=what, part=part, case=case, sides=sides, quantity=quantity, bound=bound, against=against)
        for case, bound in zip(cases, bounds, strict=True)
    ]


SHAPES = [shape.name for shape in HEADLINES]
MODELS = [shape.model_name for shape in HEADLINES]
LOSSES = [f"shakespeare to {value}" for value in ("1.88", "1.7", "1.55")]
MINUTES = [f"shakespeare in {value} min" for value in (1, 3, 10)]

TARGETS: tuple[Target, ...] = (
    *(
        Target(
            what="training against nanoGPT eager",
            part="speed",
            case=case,
            sides=OURS,
            quantity=speed.QUANTITY,
            against=speed.EAGER,
            bound=bound,
            aim=aim,
        )
        for case, bound, aim in zip(SHAPES, (1.65, 1.55, 1.2), (1.8, 1.7, 1.25), strict=True)
    ),
    *_ratio(
        "training against nanoGPT compiled", "speed", SHAPES, OURS, speed.QUANTITY, speed.COMPILED, 1.5, 1.55, 1.06
    ),
    *(
        Target(
            what="share of the measured peak",
            part="mfu",
            case=mfu.case_name(shape, 2),
            sides=OURS,
            quantity="mfu",
            bound=bound,
            unit="",
        )
        for shape, bound in zip(HEADLINES, (0.72, 0.80, 0.88), strict=True)
    ),
    *(
        Target(
            what=what,
            part="loss",
            case=case,
            sides=(side,),
            # What lmlab spends on evaluation counts against it but for the longest.
            quantity=loss.TIMES[0] if case == LOSSES[-1] else loss.TIMES[1],
            against=loss.PEER,
            bound=bound,
        )
        for what, side, bounds in (
            ("time to a loss", TABLES, (8, 9, 6)),
            ("time to a loss, no n-gram tables", NO_TABLES, (5, 5, 4)),
        )
        for case, bound in zip(LOSSES, bounds, strict=True)
    ),
    *(
        Target(
            what="best loss in a time",
            part="loss",
            case=case,
            sides=(TABLES, NO_TABLES),
            quantity=loss.LOSS,
            bound=bound,
            at_least=False,
            unit=" nats",
        )
        for case, bound in zip(MINUTES, (1.66, 1.50, 1.45), strict=True)
    ),
    *_ratio(
        "generation, one stream", "generation", MODELS, (generation.ONE,), generation.QUANTITY, "nanoGPT", 42, 57, 20
    ),
    *_ratio(
        "generation, 16 streams",
        "generation",
        MODELS[:1],
        (generation.BATCHED,),
        generation.QUANTITY,
        generation.ONE,
        4,
    ),
    Target(
        what="start to the first step",
        part="startup",
        case=f"{small(64, 12).name}, warm",
        sides=OURS,
        quantity=startup.QUANTITY,
        bound=4.0,
        at_least=False,
        unit=" s",
    ),
)


def verdicts(results: Sequence[Results]) -> list[Verdict]:
    """Each target on each processor that measured it, by the latest results that have it; then other corpora against the first.

    A target that no results have stands there once, with the reason.
    """
    latest = sorted(results, key=lambda one: str(one.context["date"]), reverse=True)
    groups: dict[str, list[Results]] = {}
    for one in latest:
        groups.setdefault(one.processor, []).append(one)
    found = []
    for target in TARGETS:
        measured = [verdict for group in groups.values() if (verdict := _verdict(target, group)) is not None]
        found += measured or [Verdict(target=target, side=None, reason=_reason(target, latest))]
    return found + [verdict for group in groups.values() for verdict in _other_corpora(group)]


def _verdict(target: Target, latest: Sequence[Results]) -> Verdict | None:
    """By the results of one processor; None where they lack it."""
    for one in latest:
        for side in target.sides:
            found = _find(one, target, side) if one.part == target.part else None
            if found is not None:
                low, high = min(found.samples), max(found.samples)
                return Verdict(
                    target=target, side=side, processor=one.processor, measured=found.median, low=low, high=high
                )
    return None


def _reason(target: Target, latest: Sequence[Results]) -> str:
    skipped = [
        entry for one in latest for entry in one.skipped if one.part == target.part and entry.case == target.case
    ]
    reasons = [entry.reason for entry in skipped if entry.side in (*target.sides, target.against)]
    return reasons[0] if reasons else "not measured"


def _find(results: Results, target: Target, side: str) -> Measurement | Comparison | None:
    if target.against is None:
        return results.measurement(target.case, side, target.quantity)
    return results.comparison(target.case, side, target.against, target.quantity)


def _other_corpora(latest: Sequence[Results]) -> list[Verdict]:
    """For each goal on another corpus, its ratio over that of the goal on the first that it stands for, on one processor."""
    found = []
    compared = [entry for one in latest for entry in one.comparisons if entry.quantity == loss.TIMES[0]]
    for one in latest:
        for case, like in one.settings.get("like", {}).items():
            for entry in one.comparisons:
                first = next((other for other in compared if (other.case, other.side) == (like, entry.side)), None)
                if entry.case != case or entry.quantity != loss.TIMES[0] or first is None:
                    continue
                target = Target(
                    what=f"ratio over that of {like}",
                    part="loss",
                    case=case,
                    sides=(entry.side,),
                    quantity=loss.TIMES[0],
                    bound=OF_FIRST_CORPUS,
                    unit="",
                )
                share = entry.median / statistics.median(first.samples)
                found.append(Verdict(target=target, side=entry.side, processor=one.processor, measured=share))
    return found
