"""The parts of a page as HTML. Every text goes through `escape.text`, so nothing from a run's files is markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmlab.report.page.held import held_table
from lmlab.report.page.html.escape import text
from lmlab.report.page.values import Axis, Card, Chart, Compared, Fact, Held, Page, RunPart, Sample, Table, number

COLOURS = 8
COLOURED = "Runs that differ only in the seed have one colour:"
MOST_LINES = 3
"""Statements of a card that are shown without a click."""
SWITCHES = (("steps", "steps"), ("tokens", "tokens"), ("FLOPs", "FLOP"), ("seconds", "time"))


def table_html(table: Table) -> str:
    """Return a table with caption and scoped headings; it scrolls where it is wider than the screen."""
    aligned = [' class="number"' if place in table.numbers else "" for place in range(len(table.headings))]
    head = "".join(
        f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(table.headings, aligned, strict=True)
    )
    rows = []
    for row in table.rows:
        cells = [f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row, aligned, strict=True)]
        cells[0] = f'<th scope="row"{aligned[0]}>{text(row[0])}</th>'
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(table.caption)}"><table>'
        f"<caption>{text(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def charts_html(page: Page, against: Axis) -> str:
    """Return the switches and a figure for each chart, with its end values in words for those who don't see it."""
    radios = "".join(
        f'<label><input type="radio" name="axis" value="{value}"{" checked" if value == against else ""}>{words}</label>'
        for value, words in SWITCHES
        if value in ("steps", against) or any(value in chart.axes() for chart in page.charts)
    )
    keys = "".join(
        f'<li><span class="key key-{place % COLOURS}" aria-hidden="true"></span>{text(name)}</li>'
        for place, name in enumerate(page.groups)
    )
    return (
        '<section aria-labelledby="curves"><h2 id="curves">Curves</h2>'
        '<div id="switches" hidden><fieldset><legend>horizontal axis</legend>'
        f'{radios}</fieldset><label><input type="checkbox" id="log-x">logarithmic horizontal axis</label></div>'
        + (f'<p class="quiet">{COLOURED}</p><ul class="groups">{keys}</ul>' if len(page.groups) > 1 else "")
        + "<noscript><p>The charts need JavaScript; all their numbers are in the tables below.</p></noscript>"
        + "".join(map(_figure, page.charts))
        + "</section>"
    )


def _figure(chart: Chart) -> str:
    size = " large" if chart.key == "loss" else ""
    ends = "; ".join(
        f"{line.name}, {line.quantity}: {number(line.last())} {chart.unit}".strip() for line in chart.lines
    )
    sources = _sources(chart)
    words = f"{chart.title} against the cost of training. At the end: {ends}"
    extra = f" {text(chart.note)}" if chart.note else ""
    levels = "".join(f" {text(level.words)}: {text(level.source)}." for level in chart.levels)
    bands = (
        " Bands: lowest and highest of the seeds." if any("mean of" in line.quantity for line in chart.lines) else ""
    )
    marks = "".join(
        f"<li>{text(mark.run)}, step {number(float(mark.places.steps[0]))}: {text(mark.what)}</li>"
        for mark in chart.marks
    )
    return (
        f'<figure aria-labelledby="title-{chart.key}"><header><h3 id="title-{chart.key}">{text(chart.title)}</h3>'
        f'<label><input type="checkbox" id="log-{chart.key}">logarithmic</label></header>'
        f'<div class="chart{size}" id="chart-{chart.key}" role="img" aria-label="{text(words)}"></div>'
        f'<img class="picture" id="picture-{chart.key}" alt="{text(chart.title)}">'
        f"<figcaption>{text(chart.unit) if chart.unit else 'no unit'}.{extra}{bands}{levels} "
        f'<span class="source">{text(sources)}</span></figcaption>'
        + (
            f"<details><summary>{_many(len(chart.marks), 'event')} on the curve</summary><ul>{marks}</ul></details>"
            if marks
            else ""
        )
        + "</figure>"
    )


def _sources(chart: Chart) -> str:
    """Return the files of a chart's curves; for several runs without their names, which would be long."""
    known = [source for line in chart.lines for source in line.source.split("; ")]
    if len({source.partition("/")[0] for source in known}) > 1:
        known = [f"{source.partition('/')[2]} of each run" for source in known]
    return "; ".join(dict.fromkeys(known))


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def compared_html(compared: Compared) -> str:
    """Return what differs and the verdicts."""
    verdicts = "".join(
        f"<li><strong>{text(verdict)}</strong><br>{text(reason)}</li>" for verdict, reason in compared.verdicts
    )
    notes = "".join(f"<li>{text(note)}</li>" for note in compared.notes)
    return (
        '<section aria-labelledby="compared"><h2 id="compared">Compared</h2>'
        + (f"<h3>Verdicts</h3><ul>{verdicts}</ul>" if verdicts else "")
        + (f'<ul class="quiet">{notes}</ul>' if notes else "")
        + (table_html(compared.differences) if compared.differences else "<p>Nothing differs.</p>")
        + f'<p class="quiet">The same: {text(compared.same)}.</p></section>'
    )


def run_html(run: RunPart, place: int) -> str:
    """Return everything of one run."""
    about = "".join(f"<p>{text(words)}</p>" for words in (run.about, run.note) if words)
    tags = f'<p class="quiet">tags: {text(", ".join(run.tags))}</p>' if run.tags else ""
    problems = "".join(f'<p class="problem">{text(problem)}</p>' for problem in run.problems)
    return (
        f'<section aria-labelledby="run-{place}"><h2 id="run-{place}"><span class="key key-{run.group % COLOURS}" '
        f'aria-hidden="true"></span>{text(run.name)}</h2><p class="quiet">{text(run.status)}</p>{about}{tags}{problems}'
        f'<div class="cards">{"".join(_card(card, run.name) for card in run.cards)}</div>'
        + _held(run.held)
        + (f"<h3>Evaluations</h3>{_folded('all evaluations', table_html(run.evaluations))}" if run.evaluations else "")
        + (f"<h3>Evaluated afterwards</h3>{''.join(map(table_html, run.tables))}" if run.tables else "")
        + _events(run)
        + _samples(run.samples, run.samples_source)
        + _reproduce(run)
        + "</section>"
    )


def _card(card: Card, run: str) -> str:
    facts = "".join(f"<dt>{text(fact.name)}</dt><dd>{_value(fact, run)}</dd>" for fact in card.facts)
    shown, folded = (_list(lines) for lines in (card.lines[:MOST_LINES], card.lines[MOST_LINES:]))
    return (
        f'<section class="card"><h4>{text(card.title)}</h4>'
        + (f"<dl>{facts}</dl>" if facts else "")
        + shown
        + (_folded(f"{len(card.lines) - MOST_LINES} more", folded) if folded else "")
        + "</section>"
    )


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>" if lines else ""


def _value(fact: Fact, run: str) -> str:
    shown = f"{fact.shown} {fact.unit}".strip()
    return f'{text(shown)} <span class="source">{text(fact.source.removeprefix(f"{run}/"))}</span>'


def _held(held: Sequence[Held]) -> str:
    return f"<h3>Published, forecast and measured</h3>{table_html(held_table(held))}" if held else ""


def _events(run: RunPart) -> str:
    return (
        f"<h3>Events</h3>{_folded('what happened', f'<pre>{text(chr(10).join(run.events))}</pre>')}"
        if run.events
        else ""
    )


def _samples(samples: Sequence[Sample], source: str) -> str:
    if not samples:
        return ""
    prompts = dict.fromkeys(sample.prompt for sample in samples)
    parts = []
    for prompt in prompts:
        mine = [sample for sample in samples if sample.prompt == prompt]
        parts.append(_sample(mine[-1]))
        if len(mine) > 1:
            earlier = "".join(map(_sample, mine[:-1]))
            parts.append(_folded(f"the same prompt at {_many(len(mine) - 1, 'earlier step')}", earlier))
    return f'<h3>Samples</h3><p class="source">{text(source)}</p>{"".join(parts)}'


def _sample(sample: Sample) -> str:
    tokens = "" if sample.tokens is None else f", {sample.tokens:,} tokens"
    return (
        f'<figure><figcaption>step {sample.step:,}{tokens}</figcaption><blockquote><span class="prompt">{text(sample.prompt)}'
        f"</span>{text(sample.text)}</blockquote></figure>"
    )


def _reproduce(run: RunPart) -> str:
    command = f"<pre>{text(run.command)}</pre>" if run.command else "<p>The command that began it is not known.</p>"
    commit = f"<p>lmlab at commit <code>{text(run.commit)}</code></p>" if run.commit else ""
    recipe = _folded("the whole recipe (recipe.toml)", f"<pre>{text(run.recipe)}</pre>") if run.recipe else ""
    return f"<h3>Reproduce</h3>{command}{commit}{recipe}"


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def contents(page: Page) -> Iterable[tuple[str, str]]:
    """Yield (anchor, words) of each part."""
    yield "curves", "Curves"
    if page.compared is not None:
        yield "compared", "Compared"
    yield from ((f"run-{place}", run.name) for place, run in enumerate(page.runs))
