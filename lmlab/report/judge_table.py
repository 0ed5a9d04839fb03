"""A comparison of answers for the terminal: metrics without a judge, each judge's examination, ranks and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lmlab.judge.checks import CHECKPOINTS
from lmlab.judge.figures import Figures, JudgeFigures, ranking
from lmlab.judge.metrics import UNITS
from lmlab.judge.power import power_of
from lmlab.judge.texts import BAD_CONTROLS
from lmlab.judge.verdicts import Compared
from lmlab.stats.scores import MeanScore
from lmlab.training.table import Column, Part, Styled, Table, table

COLOURS = {"better": "green", "worse": "red", "indistinguishable": "yellow"}
MARKS = {True: "ok", False: "FAILS", None: "not told"}
NOTE = "verdicts are about these questions: another seed of a recipe, or of the sampling, can differ by as much"


def judge_parts(figures: Figures, *, pairs: bool = True) -> Iterator[Part]:
    """Yield tables and lines in reading order, verdicts last; those without a judge only with `pairs`."""
    yield Styled("without a judge", "bold")
    yield _metrics(figures)
    for metric, found in figures.metric_pairs.items() if pairs else ():
        for pair in found:
            yield _verdict(f"{metric}: ", pair, UNITS[metric])
    for judge in figures.judges:
        yield ""
        yield from _judge(figures, judge)
    for one, two, agreement in figures.agreements:
        tau, within = agreement.of_means, agreement.within
        yield ""
        yield (
            f"{one} and {two}: ranks agree with tau {tau.estimate:.2f} ({tau.low:.2f} to {tau.high:.2f}), within questions "
            f"{within.estimate:.2f} ({within.low:.2f} to {within.high:.2f})"
        )
    if len(figures.names) > 1:
        yield Styled(NOTE, "dim")


def _metrics(figures: Figures) -> Table:
    rows = []
    for name, found in zip(figures.names, figures.metrics, strict=True):
        bits = found.bits_per_byte
        rows.append(
            (
                name,
                f"{found.exact.mean.estimate:.1f} {_range(found.exact)}",
                f"{found.chrf.mean.estimate:.1f} {_range(found.chrf)}",
                f"{bits.estimate:.3f} ({bits.low:.3f} to {bits.high:.3f})",
                f"{found.same:.0%}",
                str(found.empty),
                str(found.unended),
            )
        )
    headings = (
        "model",
        "exact match %",
        "chrF",
        "bits/byte of the reference",
        "most frequent answer",
        "empty",
        "unended",
    )
    return table(headings, rows, words=("model",))


def _judge(figures: Figures, judge: JudgeFigures) -> Iterator[Part]:
    fitness = judge.fitness
    verdict = "not examined" if fitness is None else "fit" if fitness.fit else "UNFIT"
    yield Styled(f"judge {judge.raw.name} ({judge.raw.method}): {verdict}", "bold" if judge.trusted else "bold red")
    if fitness is not None:
        columns = (
            Column("check"),
            Column("", wraps=False),
            Column("found", wraps=True),
            Column("expected", wraps=True),
        )
        rows = tuple((check.name, MARKS[check.fit], check.figure, check.limit) for check in fitness.checks)
        yield Table(columns=columns, rows=rows)
        yield from _needs(figures, judge)
    if not judge.standings:
        yield "no model is ranked by a judge that is unfit; --anyway asks it all the same"
        if fitness is not None and {check.name for check in fitness.failed} == {f"{CHECKPOINTS}{judge.raw.ladder}"}:
            yield f"only the checkpoints of {judge.raw.ladder} failed: models like these are at the floor of this judge's scale"
        return
    if not judge.trusted:
        yield Styled("these ranks are of a judge that isn't known to be fit", "red")
    yield _standings(figures, judge)
    if judge.raw.until_decided:
        yield f"asked about {len(judge.raw.order)} of {len(figures.raw.questions)} questions; intervals hold at every look"
    floor = [name for name, one in zip(figures.names, judge.standings, strict=True) if one.at_floor]
    if floor:
        yield Styled(f"at the floor, no better than {', '.join(BAD_CONTROLS)}: {', '.join(floor)}", "yellow")
    for pair in judge.pairs:
        yield _verdict("", pair, "points")
    yield from _slopes(judge)


def _needs(figures: Figures, judge: JudgeFigures) -> Iterator[Part]:
    assert judge.fitness is not None
    needs = [
        f"{need.points:.0f} points {'no number' if need.questions is None else format(need.questions, ',')}"
        for need in judge.fitness.needs()
    ]
    if not needs:
        return
    shown = power_of(len(figures.raw.questions), judge.fitness.spread)[0]
    count = len(figures.raw.questions)
    yield f"questions that show a difference of two models: {'; '.join(needs)}; {count} show {shown.smallest:.1f} points"
    tokens = judge.fitness.tokens_a_call
    calls = {"score": 2, "listwise": 1, "pairwise": 2}[judge.raw.method]
    for need in judge.fitness.needs()[1:2]:
        if need.questions is not None:
            asked = calls * need.questions
            price = "" if judge.raw.price is None else f", {judge.raw.price * asked * tokens / 1e6:,.2f}"
            yield f"a verdict on {need.points:.0f} points takes {asked:,} calls, {asked * tokens:,.0f} tokens{price}"


def _standings(figures: Figures, judge: JudgeFigures) -> Table:
    rows = []
    for place in ranking(judge):
        one = judge.standings[place]
        bounds = f"{one.score.lowest:.1f} to {one.score.highest:.1f}" if one.score.missing else ""
        right = "" if one.calibrated is None else f"{one.calibrated.low:.0%} to {one.calibrated.high:.0%}"
        rows.append(
            (
                _ranks(one.ranks),
                figures.names[place],
                f"{one.score.mean.estimate:.1f} {_range(one.score)}",
                "" if math.isnan(one.adjusted) else f"{one.adjusted:.1f}",
                "" if math.isnan(one.win_rate) else f"{one.win_rate:.0%}",
                str(one.failed),
                bounds,
                right,
            )
        )
    headings = ("rank", "model", "score", "without style", "wins", "unread", "if unread are 0 or 100", "right answers")
    kept = [place for place in range(len(headings)) if place < 3 or any(row[place] not in ("", "0") for row in rows)]
    return table(
        [headings[place] for place in kept], [[row[place] for place in kept] for row in rows], words=("model",)
    )


def _ranks(ranks: tuple[int, int] | None) -> str:
    if ranks is None:
        return ""
    return str(ranks[0]) if ranks[0] == ranks[1] else f"{ranks[0]} to {ranks[1]}"


def _verdict(prefix: str, pair: Compared, unit: str) -> Styled:
    needed = (
        "" if pair.needed is None or pair.kind != "indistinguishable" else f"; so much takes {pair.needed:,} questions"
    )
    chance = "" if math.isnan(pair.adjusted_p_value) else f"p {pair.adjusted_p_value:.2g}, "
    text = (
        f"{prefix}{pair.first} against {pair.second}: {pair.kind} ({pair.difference:+.2f} {unit}, {pair.low:+.2f} to "
        f"{pair.high:+.2f}; {chance}{pair.questions} questions{needed})"
    )
    return Styled(text, COLOURS[pair.kind])


def _slopes(judge: JudgeFigures) -> Iterator[Part]:
    if judge.slopes is None:
        return
    found = [(name, one) for name, one in judge.slopes.of.items() if not math.isnan(one.slope)]
    if found:
        words = [f"{name} {one.slope:+.1f} ({one.low:+.1f} to {one.high:+.1f})" for name, one in found]
        yield f"score of the models' answers, by doubling of the length, as a list, with politeness: {'; '.join(words)}"


def _range(score: MeanScore) -> str:
    return f"({score.low:.1f} to {score.high:.1f})"
