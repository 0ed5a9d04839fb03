"""The page of a chain: its models and their answers as Markdown, tables for the terminal, and the plot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from lmlab import printable
from lmlab.chain.answers import FIGURES
from lmlab.chain.orders import TOGETHER, order_text
from lmlab.chain.result import FOLDER, ChainResult
from lmlab.files import write_text
from lmlab.report.answers_figure import AnswerPanel, AnswerPoint, draw_answers
from lmlab.report.figure import write_figure
from lmlab.stats.bootstrap import Interval
from lmlab.training.table import Column, Part, Styled, Table

PAGE, PLOT = "chain.md", "answers"
UNKNOWN = "-"
PLACES = (1, 1, 3)
"""Decimals of each figure."""
HEADINGS = ("model", "base", "tuning", "loss of the base", "valid loss", "epochs", *FIGURES)
TEXTS = 3
"""Columns of text; the others are numbers."""


def chain_parts(result: ChainResult) -> Iterator[Part]:
    """Yield what a terminal shows: the models with their answers, and whether these follow the loss."""
    columns = [Column(name, wraps=True) for name in HEADINGS[:TEXTS]]
    columns += [Column(name, right=True) for name in HEADINGS[TEXTS:]]
    yield Table(columns=tuple(columns), rows=tuple(chain_rows(result)), blocks=True)
    yield Styled(
        "loss of the base: bits per byte of its own validation split; in brackets 95% intervals over questions", "dim"
    )
    yield ""
    yield from order_lines(result)


def order_lines(result: ChainResult) -> list[str]:
    """Return for each figure and tuning whether it follows the loss of the base, in words."""
    return [
        f"{name}, {tuning}: {order_text(one)}"
        for name, orders in result.orders.items()
        for tuning, one in orders.items()
    ]


def chain_table(result: ChainResult) -> str:
    """Return the models with their answers as a Markdown table."""
    rule = ("---",) * TEXTS + ("---:",) * (len(HEADINGS) - TEXTS)
    lines = [HEADINGS, rule, *chain_rows(result)]
    return "\n".join("| " + " | ".join(printable(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def write_page(result: ChainResult, runs: Path) -> list[Path]:
    """Write chain.md and the plot beside chain.json; return their paths."""
    folder = runs / f"{FOLDER}{result.name}"
    panels = answer_panels(result)
    drawn = write_figure(draw_answers(panels, "bits per byte"), folder, PLOT) if panels else []
    pictures = "".join(f"\n\n![answers]({path.name})" for path in drawn if path.suffix == ".png")
    orders = "".join(f"\n- {printable(line)}" for line in order_lines(result))
    text = f"# {printable(result.name)}\n\n{chain_table(result)}{pictures}\n"
    write_text(folder / PAGE, text + (f"\nDo the answers follow the loss of the base?\n{orders}\n" if orders else ""))
    return [folder / PAGE, *drawn]


def chain_rows(result: ChainResult) -> list[tuple[str, ...]]:
    """Return the cells of each model under `HEADINGS`."""
    figures = result.answers.figures()
    places = {name: place for place, name in enumerate(result.answers.models)}
    rows = []
    for row in result.rows:
        place = places.get(row.name)
        answered = [
            UNKNOWN if place is None else _spread(figures[name][place], digits)
            for name, digits in zip(FIGURES, PLACES, strict=True)
        ]
        epochs = UNKNOWN if row.epochs is None else f"{row.epochs:.3g}"
        own = (row.name, row.base, row.tuning or UNKNOWN, _number(row.base_loss), _number(row.valid_loss), epochs)
        rows.append((*own, *answered))
    return rows


def answer_panels(result: ChainResult) -> list[AnswerPanel]:
    """Return a panel for each figure over the bases' losses; none where fewer than two are known."""
    known = [(place, row) for place, row in enumerate(result.answering) if row.base_loss is not None]
    if len({row.base for _, row in known}) < 2:
        return []
    panels = []
    for name, values in result.answers.figures().items():
        orders = result.orders.get(name, {})
        tau = orders.get(TOGETHER) or next(iter(orders.values()), None)
        points = [
            AnswerPoint(
                label=row.base,
                group=row.tuning or "not tuned",
                loss=math.nan if row.base_loss is None else row.base_loss,
                value=values[place].estimate,
                low=values[place].low,
                high=values[place].high,
            )
            for place, row in known
        ]
        panels.append(AnswerPanel(title=name, note="" if tau is None else order_text(tau), points=points))
    return panels


def _spread(found: Interval, places: int) -> str:
    return f"{found.estimate:.{places}f} ({found.low:.{places}f} to {found.high:.{places}f})"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"
