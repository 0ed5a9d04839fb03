"""The figures of texts for the terminal: a row a figure and a column a model, beside real text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from lmlab.evaluation.measures.figures import FIGURES, Figure
from lmlab.experiment.measuring import REAL, MeasuredTexts, Measures
from lmlab.report.measure_names import NAMES, UNKNOWN, shown
from lmlab.training.table import Column, Part, Styled, Table, table

SHOWN = 2
"""Texts after prompts from validation text that are printed; all others are in --json and with the run."""
LEGEND = (
    "in brackets the 95% interval over texts; repeated: n-grams of words that the text has had before; distinct: different n-grams "
    "among all of all texts; known: words that are in the training text; copied: words in spans of training text of that length; "
    "longest copy: the mean over texts, and the most of all"
)


def measures_parts(found: Measures) -> Iterator[Part]:
    """Yield the texts, the table of figures and its notes."""
    yield from _texts(found)
    every = [*found.models, *([] if found.real is None else [found.real])]
    yield Styled(f"figures of {len(every[0].passages):,} texts each", "bold")
    rows = [
        (NAMES[name], *(_cell(one, name) for one in every))
        for name in FIGURES
        if any(name in one.figures for one in every)
    ]
    yield dataclasses.replace(table(("figure", *(one.name for one in every)), rows, words=("figure",)), blocks=True)
    yield Styled(LEGEND, "dim")
    if found.real is not None and not found.asked.prompts:
        yield Styled(
            f"{REAL}: what the validation text goes on with after the same prompts, at most as many tokens", "dim"
        )
    for note in found.notes:
        yield Styled(f"note: {note}", "dim")


def _cell(one: MeasuredTexts, name: str) -> str:
    figure: Figure | None = one.figures.get(name)
    if figure is None:
        return UNKNOWN
    most = f", most {one.longest_copy}" if name == "longest_copy" and one.longest_copy is not None else ""
    return shown(name, figure.to_json()) + most


def _texts(found: Measures) -> Iterator[Part]:
    """Yield a table of the texts: all after given prompts, a few after those from validation text."""
    writers = found.texts.writers
    real = found.real if found.real is not None and not found.asked.prompts else None
    columns = [Column("prompt", wraps=True)]
    columns += [Column(one.name if one.step is None else f"{one.name}@{one.step}", wraps=True) for one in writers]
    columns += [Column(REAL, wraps=True)] if real is not None else []
    count = len(writers[0].samples)
    number = count if found.asked.prompts else min(SHOWN, count)
    rows: list[tuple[Any, ...]] = []
    for place in range(number):
        entries = [one.samples[place]["text"] for one in writers]
        entries += [real.passages[place].text] if real is not None else []
        rows.append((writers[0].samples[place]["prompt"] or "(none)", *entries))
    yield Table(columns=tuple(columns), rows=tuple(rows))
    if number < count:
        yield Styled(f"{number} of {count} texts; the others are in --json, and stored with each run", "dim")
    yield ""
