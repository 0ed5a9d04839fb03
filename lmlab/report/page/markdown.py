"""A report as Markdown (GitHub's), with pictures beside it: a text that can be posted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lmlab import printable
from lmlab.report.page.held import held_table
from lmlab.report.page.values import Card, Chart, Compared, Page, RunPart, Sample, Table, number, thinned

SPECIAL = re.compile(r"([\\`*_\[\]{}|~#$!>])")
LIVE = {"&": "&amp;", "<": "&lt;", "@": "&#64;", "://": "&#58;//", "www.": "www&#46;"}
"""What would become an entity, a tag, a mention or a link."""
MOST_EVALUATIONS = 12
"""Rows of the table of evaluations."""


def markdown(page: Page, pictures: Sequence[str]) -> str:
    """Return the document; `pictures` are the file names of the figure, in the document's folder."""
    return (
        "\n".join(
            [*_head(page, pictures), *_compared(page.compared), *(line for run in page.runs for line in _run(run))]
        )
        + "\n"
    )


def plain(text: object) -> str:
    """Return text from a file as one line that Markdown shows as it is: no markup, links or mentions.

    >>> plain("*a* <b> @c | https://d")
    '\\\\*a\\\\* &lt;b> &#64;c \\\\| https&#58;//d'
    """
    shown = printable(text)
    for found, written in LIVE.items():
        shown = shown.replace(found, written)
    return SPECIAL.sub(lambda match: match[0] if match[0] in ">#!" and match.start() else f"\\{match[0]}", shown)


def code(text: str) -> str:
    """Return text as a code block, whose fence is longer than any in the text."""
    shown = printable(text, lines=True)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", shown)), 3)
    return f"{fence}text\n{shown}\n{fence}"


def _head(page: Page, pictures: Sequence[str]) -> Iterator[str]:
    yield f"# {plain(page.title)}\n"
    yield f"Written {page.created} by lmlab {page.version}:\n\n{code(page.command)}\n"
    yield _table(page.overview)
    yield from (
        f"![losses, learning rate and gradient norm against the training](<{picture}>)\n" for picture in pictures
    )
    yield "\n".join(_ends(chart) for chart in page.charts) + "\n"


def _ends(chart: Chart) -> str:
    ends = "; ".join(f"{plain(line.name)}, {line.quantity}: {number(line.last())}" for line in chart.lines)
    return f"- {chart.title}{f' ({chart.unit})' if chart.unit else ''} at the end: {ends}"


def _compared(compared: Compared | None) -> Iterator[str]:
    if compared is None:
        return
    yield "## Compared\n"
    yield from (f"- **{plain(verdict)}**. {plain(reason)}" for verdict, reason in compared.verdicts)
    yield from (f"- {plain(note)}" for note in compared.notes)
    yield ""
    if compared.differences is not None:
        yield _table(compared.differences)
    yield f"The same: {plain(compared.same)}.\n"


def _run(run: RunPart) -> Iterator[str]:
    yield f"## {plain(run.name)}\n"
    yield from (f"{plain(words)}\n" for words in (run.about, run.note) if words)
    yield from (f"- {plain(problem)}" for problem in run.problems)
    for card in run.cards:
        yield from _card(card)
    tables = [held_table(run.held)] if run.held else []
    tables += [thinned(run.evaluations, MOST_EVALUATIONS)] if run.evaluations is not None else []
    yield from (_table(table) for table in (*tables, *run.tables))
    if run.events:
        yield f"### Events\n\n{code(chr(10).join(run.events))}\n"
    yield from _samples(run.samples, run.samples_source)
    yield f"### Reproduce\n\n{code(run.command)}\n" if run.command else "### Reproduce\n"
    if run.commit:
        yield f"lmlab at commit {plain(run.commit)}.\n"
    if run.recipe:
        yield f"{code(run.recipe.rstrip())}\n"


def _card(card: Card) -> Iterator[str]:
    rows = tuple((fact.name, fact.shown, fact.unit, fact.source) for fact in card.facts)
    yield f"### {card.title}\n"
    if rows:
        yield _table(Table(caption="", headings=("what", "value", "unit", "file"), rows=rows, numbers=(1,)))
    yield from (f"- {plain(line)}" for line in card.lines)
    yield ""


def _samples(samples: Sequence[Sample], source: str) -> Iterator[str]:
    if not samples:
        return
    yield f"### Samples\n\n{plain(source)}\n"
    for prompt in dict.fromkeys(sample.prompt for sample in samples):
        mine = [sample for sample in samples if sample.prompt == prompt]
        for sample in dict.fromkeys((mine[0], mine[len(mine) // 2], mine[-1])):
            yield f"Step {sample.step:,}:\n\n{code(sample.prompt + sample.text)}\n"


def _table(table: Table) -> str:
    rule = ["---:" if place in table.numbers else "---" for place in range(len(table.headings))]
    rows = [tuple(map(plain, table.headings)), tuple(rule), *(tuple(map(plain, row)) for row in table.rows)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{plain(table.caption)}\n\n{lines}\n" if table.caption else f"{lines}\n"
