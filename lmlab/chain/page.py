"""The page of a chain: its models and their answers as Markdown, tables for the terminal, and the plot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from lmlab import printable
from lmlab.chain.result import FOLDER, ChainResult
from lmlab.files import write_text
from lmlab.judge.metrics import ModelMetrics
from lmlab.report.answers_figure import AnswerPanel, AnswerPoint, draw_answers
from lmlab.report.figure import write_figure
from lmlab.report.judge_table import judge_parts
from lmlab.stats.bootstrap import Interval
from lmlab.training.table import Column, Part, Styled, Table

PAGE, PLOT = "chain.md", "answers"
MOST_PAIRED = 4
"""With more models the verdicts on all pairs are in judged.json alone."""
UNKNOWN = "-"
HEADINGS = (
    *("model", "base", "tuning", "loss of the base", "valid loss", "epochs"),
    *("exact match %", "chrF", "bits/byte of the reference"),
)


def chain_parts(result: ChainResult) -> Iterator[Part]:
    """Yield what a terminal shows: the models, the comparison of their answers, and whether these follow the loss."""
    columns = (
        *(Column(name, wraps=True) for name in HEADINGS[:3]),
        *(Column(name, right=True) for name in HEADINGS[3:]),
    )
    yield Table(columns=columns, rows=tuple(_rows(result)), blocks=True)
    yield ""
    yield from judge_parts(result.figures, pairs=len(result.figures.names) <= MOST_PAIRED)
    yield ""
    for line in order_lines(result):
        yield Styled(line, "bold")


def order_lines(result: ChainResult) -> list[str]:
    """Return for each metric whether it follows the loss of the base, in words."""
    return [f"{name}: {order_text(one)}" for name, one in result.orders.items()]


def order_text(tau: Interval) -> str:
    """Return an order in words, with its interval where there is one."""
    if math.isnan(tau.low):
        return "too few models to tell, or all alike"
    verdict = "not shown to follow the loss"
    if tau.low > 0 or tau.high < 0:
        verdict = "follows the loss" if tau.low > 0 else "goes against the loss"
    return f"{verdict}, tau {tau.estimate:.2f} ({tau.low:.2f} to {tau.high:.2f})"


def write_page(result: ChainResult, runs: Path) -> list[Path]:
    """Write chain.md and the plot beside chain.json; return their paths."""
    folder = runs / f"{FOLDER}{result.name}"
    drawn = write_figure(draw_answers(_panels(result), "bits per byte"), folder, PLOT) if _panels(result) else []
    lines = [HEADINGS, ("---",) * 3 + ("---:",) * (len(HEADINGS) - 3), *_rows(result)]
    table = "\n".join("| " + " | ".join(printable(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
    pictures = "".join(f"\n\n![answers]({path.name})" for path in drawn if path.suffix == ".png")
    orders = "".join(f"\n- {printable(line)}" for line in order_lines(result))
    text = f"# {printable(result.name)}\n\n{table}{pictures}\n"
    write_text(folder / PAGE, text + (f"\nDo the answers follow the loss of the base?\n{orders}\n" if orders else ""))
    return [folder / PAGE, *drawn]


def _rows(result: ChainResult) -> list[tuple[str, ...]]:
    figures = dict(zip(result.figures.names, result.figures.metrics, strict=True))
    return [
        (
            row.name,
            row.base,
            row.tuning or UNKNOWN,
            _number(row.base_loss),
            _number(row.valid_loss),
            UNKNOWN if row.epochs is None else f"{row.epochs:.3g}",
            *_metrics(figures.get(row.name)),
        )
        for row in result.rows
    ]


def _metrics(found: ModelMetrics | None) -> tuple[str, ...]:
    if found is None:
        return (UNKNOWN,) * 3
    return _spread(found.exact.mean, 1), _spread(found.chrf.mean, 1), _spread(found.bits_per_byte, 3)


def _spread(found: Interval, places: int) -> str:
    return f"{found.estimate:.{places}f} ({found.low:.{places}f} to {found.high:.{places}f})"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def _panels(result: ChainResult) -> list[AnswerPanel]:
    """Return a panel for each metric without a judge over the bases' losses; none where fewer than two are known."""
    pairs = [
        (row, found)
        for row, found in zip(result.answering, result.figures.metrics, strict=True)
        if row.base_loss is not None
    ]
    if len({row.base for row, _ in pairs}) < 2:
        return []
    titles = {
        "exact match, %": ("exact match %", [found.exact.mean for _, found in pairs]),
        "chrF": ("chrF", [found.chrf.mean for _, found in pairs]),
        "bits per byte of the reference": (
            "minus bits per byte of the reference",
            [found.bits_per_byte for _, found in pairs],
        ),
    }
    panels = []
    for title, (name, values) in titles.items():
        tau = result.orders.get(name)
        points = [
            AnswerPoint(
                label=row.base,
                group=row.tuning or "not tuned",
                loss=float(row.base_loss or math.nan),
                value=one.estimate,
                low=one.low,
                high=one.high,
            )
            for (row, _), one in zip(pairs, values, strict=True)
        ]
        note = "" if tau is None else order_text(tau)
        panels.append(AnswerPanel(title=title, note=note, points=points))
    return panels
