"""A comparison for the terminal: tables of what differs and what each run cost, and the verdicts in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from lmlab import printable
from lmlab.report.labels import amount
from lmlab.study.comparison import Comparison
from lmlab.study.comparison_curves import Reached
from lmlab.study.comparison_pairs import Pair
from lmlab.study.comparison_ratios import Row
from lmlab.training.display import duration

PLAIN_WIDTH = 140
"""Characters a line where no terminal says how many it has."""
LONGEST_VALUE = 44
COLOURS = {"better": "green", "worse": "red", "indistinguishable": "yellow"}


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """To standard output, or to `console`."""
    target = console or Console(highlight=False)
    if console is None and not target.is_terminal:
        target.width = PLAIN_WIDTH
    for part in parts(comparison):
        target.print(part, soft_wrap=isinstance(part, Text))


def parts(comparison: Comparison) -> Iterator[RenderableType]:
    """Tables and lines in the order in which they're read: the verdict is the last."""
    yield from _differences(comparison)
    yield _ratios(comparison)
    if comparison.equal:
        yield _equal(comparison)
    if any(target.reached for target in comparison.targets):
        yield _targets(comparison)
    for name, trend in zip(comparison.names, comparison.trends, strict=True):
        yield _text(f"{name}: {trend.reason}")
    for sample, name in zip(comparison.samples, comparison.names, strict=False):
        yield Text("")
        yield _text(f"{name} writes:")
        yield Text(printable("\n".join(f"    {line}" for line in sample.splitlines()[:8]), lines=True))
    for warning in comparison.warnings:
        yield _text(f"note: {warning}", style="dim")
    yield Text("")
    yield from map(_verdict, comparison.pairs)


def verdict_line(pair: Pair) -> str:
    """The verdict on a pair, in words."""
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
        f"(95 % {told.low:+.4f} to {told.high:+.4f})"
    )


def _verdict(pair: Pair) -> RenderableType:
    line = Text(verdict_line(pair), style="bold")
    if pair.verdict is None or pair.noise is None:
        return line
    line.stylize(COLOURS[pair.verdict.kind])
    needed = pair.verdict.seeds_needed
    smallest = f"two single runs must differ by {pair.noise.smallest_visible():.4f} to be told apart"
    if needed is None:
        seeds = "no number of seeds would show a difference of this size on this text"
    else:
        seeds = f"{needed:,} {'seed' if needed == 1 else 'seeds'} on each side would show one of this size in four of five cases"
    line.append(f"\n  {printable(pair.verdict.reason)}\n  {smallest}; {seeds}", style="not bold default")
    return line


def _differences(comparison: Comparison) -> Iterator[RenderableType]:
    found = comparison.differences
    same = ", ".join(f"{count} of {group}" for group, count in found.same.items() if count)
    if found.found:
        table = _table("what differs", ["", *comparison.names])
        for entry in found.found:
            name = entry.name if entry.group == "recipe" else f"{entry.group}: {entry.name}"
            _add(table, name, *map(_value, entry.values))
        yield table
    yield Text(f"{'the same' if found.found else 'nothing differs; the same'}: {same}\n", style="dim")


def _ratios(comparison: Comparison) -> Table:
    table = _table("side by side", ["", *comparison.names], "right")
    for row in comparison.ratios:
        cells = [_cell(row, index) for index in range(len(row.values))]
        _add(table, row.name + ("" if row.comparable else " (not comparable)"), *cells)
    return table


def _equal(comparison: Comparison) -> Table:
    table = _table(f"loss ({comparison.scale}) at equal ..., of {comparison.scored}", ["", *comparison.names], "right")
    for entry in comparison.equal:
        spent = duration(entry.spent) if entry.axis == "seconds" else f"{amount(entry.spent)} {entry.axis}"
        cells: list[str] = []
        for loss in entry.losses:
            apart = "" if entry.losses[0] is None or loss is None or not cells else f" ({loss - entry.losses[0]:+.4f})"
            cells.append("-" if loss is None else f"{loss:.4f}{apart}")
        _add(table, spent, *cells)
    return table


def _targets(comparison: Comparison) -> Table:
    table = _table(f"to reach a loss ({comparison.scale})", ["", *comparison.names], "right")
    for target in comparison.targets:
        _add(table, f"{target.loss:.4f}", *map(_reached, target.reached))
    return table


def _reached(reached: Reached | None) -> str:
    if reached is None:
        return "never"
    known = reached.spent
    spent = f"{amount(known['tokens'])} tokens" if "tokens" in known else f"{amount(known['steps'])} steps"
    spent += f", {duration(known['seconds'])}" if "seconds" in known else ""
    return f"at most {spent}" if reached.at_most else spent


def _cell(row: Row, index: int) -> str:
    value = row.values[index]
    if value is None:
        return "-"
    shown = {
        "count": lambda: amount(value),
        "flops": lambda: f"{value:.2e}",
        "seconds": lambda: duration(value),
        "rate": lambda: f"{value:,.0f}",
        "share": lambda: f"{value:.1%}",
        "ratio": lambda: f"{value:.3g}",
        "loss": lambda: f"{value:.4f}",
        "gap": lambda: f"{value:+.4f}",
    }[row.unit]()
    ratio = row.ratio(index)
    if index == 0 or ratio is None:
        return shown
    return f"{shown}  {ratio - 1:+.1%}" if row.unit == "loss" else f"{shown}  x{ratio:.3g}"


def _table(title: str, heads: Sequence[str], justify: Any = "left") -> Table:
    table = Table(title=_text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, head in enumerate(heads):
        table.add_column(_text(head, overflow="fold"), justify="left" if index == 0 else justify, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(_text, cells))


def _text(words: str, **look: Any) -> Text:
    """A line or cell that quotes others: a plain string would be read as rich's markup."""
    return Text(printable(words), **look)


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int):
        text = printable(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value)
        return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
    return f"{value:,}"
