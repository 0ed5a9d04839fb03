"""A comparison for the terminal: tables of what differs and of each run's cost, and the verdicts as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lmlab import printable
from lmlab.recipe.quantities import duration
from lmlab.report.labels import amount
from lmlab.study.compare.comparison import Comparison
from lmlab.study.compare.curves import Reached
from lmlab.study.compare.pairs import Pair
from lmlab.study.compare.ratios import RatioRow
from lmlab.training.table import Column, Part, Quoted, Styled, Table, table

COLOURS = {"better": "green", "worse": "red", "indistinguishable": "yellow"}


def comparison_parts(comparison: Comparison) -> Iterator[Part]:
    """Yield tables and lines in reading order: the verdict is last."""
    yield from _differences(comparison)
    yield from _titled("side by side", _ratios(comparison))
    if comparison.equal:
        yield from _titled(f"loss ({comparison.scale}) at equal budgets, over {comparison.scored}", _equal(comparison))
    if any(target.reached for target in comparison.targets):
        yield from _titled(f"to reach a loss ({comparison.scale})", _targets(comparison))
    if comparison.task_pairs:
        yield from _titled("stored accuracies on benchmark tasks, on the same items", _tasks(comparison))
    for name, trend in zip(comparison.names, comparison.trends, strict=True):
        yield f"{name}: {trend.reason}"
    for sample, name in zip(comparison.samples, comparison.names, strict=False):
        if sample:
            yield ""
            yield f"{name} writes:"
            yield from (Quoted(f"    {line.expandtabs()}") for line in sample.splitlines()[:8])
    for warning in comparison.warnings:
        yield Styled(f"note: {warning}", "dim")
    yield ""
    for pair in comparison.pairs:
        yield from _verdict(pair)
    explained = None if comparison.on else comparison.explained
    if explained is not None:
        yield f"why do they differ: lmlab explain {explained.first} {explained.second}"


def verdict_line(pair: Pair) -> str:
    """Return the verdict on a pair as text."""
    if pair.verdict is None or pair.losses is None or pair.noise is None:
        return printable(f"{pair.first} and {pair.second}: no verdict, because {pair.withheld}")
    told = pair.verdict
    said = {
        "better": f"{pair.first} is better than {pair.second}",
        "worse": f"{pair.first} is worse than {pair.second}",
        "indistinguishable": f"{pair.first} and {pair.second} are indistinguishable",
    }[told.kind]
    return printable(
        f"{said}: {pair.losses[0]:.4f} against {pair.losses[1]:.4f} {pair.scale}, difference {told.difference:+.4f} "
        f"(95% {told.low:+.4f} to {told.high:+.4f})"
    )


def _verdict(pair: Pair) -> Iterator[Part]:
    if pair.verdict is None or pair.noise is None or pair.paired is None:
        yield Styled(verdict_line(pair), "bold")
        return
    yield Styled(verdict_line(pair), f"bold {COLOURS[pair.verdict.kind]}")
    yield f"  {pair.verdict.reason}"
    needed = pair.verdict.seeds_needed
    smallest = (
        f"one seed each can show differences above {pair.noise.seeds.smallest_judged(pair.paired.standard_error):.2g}"
    )
    if pair.verdict.kind != "indistinguishable":
        yield f"  {smallest}"
    elif needed is None:
        yield f"  {smallest}; no number of seeds would show this one on this text"
    else:
        yield f"  {smallest}; this one needs about {needed:,} {'seed' if needed == 1 else 'seeds'} each"


def _differences(comparison: Comparison) -> Iterator[Part]:
    found = comparison.differences
    same = ", ".join(f"{count} of {group}" for group, count in found.same.items() if count)
    if found.found:
        rows = [
            (entry.name if entry.group == "recipe" else f"{entry.group}: {entry.name}", *map(shown_value, entry.values))
            for entry in found.found
        ]
        yield from _titled("what differs", _table(comparison.names, rows, numbers=False))
    yield Styled(f"{'the same' if found.found else 'nothing differs; the same'}: {same}", "dim")
    yield ""


def _titled(title: str, body: Table) -> Iterator[Part]:
    yield Styled(title, "bold")
    yield body
    yield ""


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> Table:
    """Return a table with a column for each run, under its name; row labels are on the left."""
    columns = (Column("", wraps=True), *(Column(name, right=numbers, wraps=not numbers) for name in names))
    return Table(columns=columns, rows=tuple(map(tuple, rows)), blocks=True)


def _ratios(comparison: Comparison) -> Table:
    rows = [
        (
            row.name + ("" if row.comparable else " (not comparable)"),
            *(_cell(row, index) for index in range(len(row.values))),
        )
        for row in comparison.ratios
    ]
    return _table(comparison.names, rows)


def _equal(comparison: Comparison) -> Table:
    rows = []
    for entry in comparison.equal:
        axis: str = "epochs" if entry.axis == "steps" and comparison.records[0].steps_are_epochs else entry.axis
        spent = _seconds(entry.spent) if axis == "seconds" else f"{amount(entry.spent)} {axis}"
        cells: list[str] = []
        for loss in entry.losses:
            apart = "" if entry.losses[0] is None or loss is None or not cells else f" ({loss - entry.losses[0]:+.4f})"
            cells.append("-" if loss is None else f"{loss:.4f}{apart}")
        rows.append((spent, *cells))
    return _table(comparison.names, rows)


def _tasks(comparison: Comparison) -> Table:
    rows = [
        (
            pair.task,
            f"{pair.first} {pair.accuracies[0]:.3f}",
            f"{pair.second} {pair.accuracies[1]:.3f}",
            f"{pair.paired.difference:+.3f} ({pair.paired.low:+.3f} to {pair.paired.high:+.3f})",
            pair.kind,
        )
        for pair in comparison.task_pairs
    ]
    headings = ("task", "first", "second", "difference (95%)", "the first is")
    return table(headings, rows, words=("task", "first", "second", "the first is"))


def _targets(comparison: Comparison) -> Table:
    epochs = [record.steps_are_epochs for record in comparison.records]
    rows = [(f"{target.loss:.4f}", *map(_reached, target.reached, epochs)) for target in comparison.targets]
    return _table(comparison.names, rows)


def _reached(reached: Reached | None, epochs: bool) -> str:
    if reached is None:
        return "never"
    known = reached.spent
    counts = "epochs" if epochs else "steps"
    spent = f"{amount(known['tokens'])} tokens" if "tokens" in known else f"{amount(known['steps'])} {counts}"
    spent += f", {_seconds(known['seconds'])}" if "seconds" in known else ""
    return f"at most {spent}" if reached.at_most else spent


def _cell(row: RatioRow, index: int) -> str:
    value = row.values[index]
    if value is None:
        return "-"
    shown = {
        "count": lambda: amount(value),
        "flops": lambda: f"{value:.2e}",
        "seconds": lambda: _seconds(value),
        "milliseconds": lambda: f"{value:,.3g}" if value < 1000 else f"{value:,.0f}",
        "rate": lambda: f"{value:,.0f}",
        "share": lambda: f"{value:.1%}",
        "ratio": lambda: f"{value:.3g}",
        "loss": lambda: f"{value:.4f}",
        "perplexity": lambda: f"{value:,.2f}",
        "accuracy": lambda: f"{value:.1%}",
        "gap": lambda: f"{value:+.4f}",
    }[row.unit]()
    ratio = row.ratio(index)
    if index == 0 or ratio is None:
        return shown
    if row.unit == "accuracy":
        return f"{shown}  {100 * (value - (row.values[0] or 0.0)):+.1f}"
    return f"{shown}  {ratio - 1:+.1%}" if row.unit in ("loss", "perplexity") else f"{shown}  x{ratio:.3g}"


def _seconds(value: float) -> str:
    """Format a duration; short ones get digits enough to distinguish them."""
    return duration(value) if value >= 10 else f"{value:.2g} s"


def shown_value(value: Any) -> str:
    """Return a setting or a fact as text; - for one that a run doesn't have."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int):
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f"{value:,}"
