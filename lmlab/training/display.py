"""What a person sees while a model trains: a live panel in a terminal, plain lines elsewhere, nothing when quiet.

The display is told values and computes none: a forecast's text comes in as text. Titles and notes quote names and recipes of
others, so they are escaped here.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from lmlab import printable
from lmlab.hardware.terminal import columns_of, encodable, encoding_of, padded, width_of, wrapped

REFRESH_SECONDS = 0.25
BARS = "▁▂▃▄▅▆▇█"
TREND_POINTS = 40
MOST_COLUMNS = 3
GAP = "  "
FRAME = 4
"""Columns that the panel's border takes."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One moment of a training."""

    step: int
    steps: int
    tokens: int
    loss: float
    """Mean nats a token since the last log line, or of the last step."""
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    """Over training steps only: evaluation, samples and saving excluded."""
    mfu: float | None
    """Share of the matrix-multiplication peak measured on this machine."""
    elapsed_seconds: float
    remaining_seconds: float | None
    end: str = ""
    """The loss that the run is heading for, in words; empty while its curve tells too little."""
    step_seconds: float | None = None
    """What a step takes now: evaluation, samples and saving excluded."""
    epochs: float | None = None
    """Passes over the training split so far, those of its lineage in the same stream included."""
    epoch_seconds: float | None = None
    """What an epoch takes now: evaluation, samples and saving excluded."""
    mfu_datasheet: float | None = None
    """Share of the peak in the device's datasheet, where it is known."""
    useful_batch: float | None = None
    """Sequences up to which a larger batch pays (the gradient's noise scale), where it is known."""


class Display(Protocol):
    """What the loop tells a person."""

    def open(self, title: str) -> None:
        """The run begins or goes on."""

    def progress(self, now: Progress, logged: bool) -> None:
        """A step is done; `logged` where it also made a line of metrics."""

    def note(self, text: str) -> None:
        """A line to keep: an evaluation, a checkpoint, a warning."""

    def close(self) -> None:
        """No more steps."""


class Quiet:
    """Shows nothing."""

    def open(self, title: str) -> None:
        """Nothing."""

    def progress(self, now: Progress, logged: bool) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Unfailing:
    """A display that training survives: once the terminal or pipe is gone, nothing is shown any more.

    Lines that a full pipe would make the training wait for are left out, and counted once there is room again; whatever a
    person should know stands in the run's folder too.
    """

    def __init__(self, shown: Display, stream: Any) -> None:
        """`stream` is where `shown` writes."""
        self.shown: Display = shown
        self._stream = stream
        self._left_out = 0

    def open(self, title: str) -> None:
        """See `Display`."""
        self._call(lambda: self.shown.open(title))

    def progress(self, now: Progress, logged: bool) -> None:
        """See `Display`."""
        self._call(lambda: self.shown.progress(now, logged), counts=False)

    def note(self, text: str) -> None:
        """See `Display`."""
        self._call(lambda: self.shown.note(text))

    def close(self) -> None:
        """See `Display`."""
        self._call(self.shown.close, counts=False)

    def _call(self, what: Callable[[], None], counts: bool = True) -> None:
        if would_block(self._stream):
            self._left_out += counts
            return
        try:
            if self._left_out:
                self.shown.note(f"({self._left_out:,} lines were left out here, because standard output was blocked)")
                self._left_out = 0
            what()
        except (OSError, ValueError):  # the reader is gone, or the stream was closed
            self.shown = Quiet()
            silence(self._stream)


def silence(stream: Any) -> None:
    """Let a stream whose reader has gone end nowhere: what is in its buffer would fail again when it's closed."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def would_block(stream: Any) -> bool:
    """Whether a line written to `stream` would wait for its reader; False where the system can't tell."""
    try:
        return not select.select([], [stream.fileno()], [], 0)[1]
    except (OSError, ValueError, AttributeError):
        return False


class PlainLines:
    """A line for each line of metrics, for logs and pipes."""

    def __init__(self, stream: Any = None, every_seconds: float = 5.0) -> None:
        """Lines go to `stream` (standard output), at most one in `every_seconds` for progress."""
        self.stream = stream or sys.stdout
        self.every_seconds = every_seconds
        self._last = -math.inf

    def open(self, title: str) -> None:
        """The title as a line."""
        self._print(title)

    def progress(self, now: Progress, logged: bool) -> None:
        """A line, unless the last one was only just written."""
        clock = time.monotonic()
        if (logged and clock - self._last >= self.every_seconds) or now.step == now.steps:
            self._last = clock
            self._print(progress_line(now))

    def note(self, text: str) -> None:
        """The text as a line."""
        self._print(text)

    def close(self) -> None:
        """Nothing is left open."""

    def _print(self, text: str) -> None:
        shown = encodable(printable(text), encoding_of(self.stream))
        print(*wrapped(shown, width_of(self.stream)), sep="\n", file=self.stream, flush=True)


class LivePanel:
    """A rich panel at the foot of the terminal, with the notes scrolling above it."""

    def __init__(self, console: Any = None) -> None:
        """`console` is a rich Console; one on standard output by default."""
        from rich.console import Console

        self.console = console or Console()
        self.losses: list[float] = []
        self._title = ""
        self._live: Any = None
        self._next = 0.0

    def open(self, title: str) -> None:
        """Begin to draw."""
        from rich.live import Live

        self._title = printable(title)
        # Refreshed by us: rich's own thread would take time from the training threads.
        self._live = Live("", console=self.console, auto_refresh=False, transient=True)
        self._live.start()

    def progress(self, now: Progress, logged: bool) -> None:
        """Redraw, a few times a second at most."""
        if logged and math.isfinite(now.loss):
            self.losses.append(now.loss)
        clock = time.monotonic()
        if self._live is not None and (clock >= self._next or now.step == now.steps):
            self._next = clock + REFRESH_SECONDS
            self._live.update(self._panel(now), refresh=True)

    def note(self, text: str) -> None:
        """A line above the panel."""
        from rich.text import Text

        shown = encodable(printable(text), self.console.encoding)
        self.console.print(Text("\n".join(wrapped(shown, self.console.width))), soft_wrap=True)

    def close(self) -> None:
        """Take the panel away; the notes stay."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _panel(self, now: Progress) -> Any:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        room, encoding = self.console.width - FRAME, self.console.encoding
        shown = [(label, encodable(value, encoding)) for label, value in panel_cells(now)]
        rows = [
            Text.assemble(*((part, "bold" if place % 2 else "dim") for place, part in enumerate(row)), overflow="fold")
            for row in grid_rows(shown, room)
        ]
        label = "loss trend "
        points = max(1, min(TREND_POINTS, room - len(label)))
        trend = encodable(sparkline(self.losses, points), encoding)
        rows.append(Text.assemble((label, "dim"), (trend, "cyan")))
        if now.end:
            rows.append(Text.assemble(("at the end ", "dim"), (encodable(now.end, encoding), "bold")))
        bar = ProgressBar(total=now.steps, completed=now.step, width=None)
        title = encodable(self._title, encoding)
        if columns_of(title) > room - 2:  # rich would cut it
            return Panel(Group(Text(title, overflow="fold"), *rows, bar), border_style="dim")
        return Panel(Group(*rows, bar), title=Text(title), title_align="left", border_style="dim")


def grid_rows(cells: list[tuple[str, str]], width: int) -> list[list[str]]:
    """Labels and values by turns, row by row: as many pairs beside each other as `width` columns hold, at most `MOST_COLUMNS`.

    One pair that is wider than its column would be has a row of its own at the end.
    """
    sizes = [columns_of(label) + 1 + columns_of(value) for label, value in cells]
    for many in range(MOST_COLUMNS, 0, -1):
        room = (width - len(GAP) * (many - 1)) // many
        wide = [place for place, size in enumerate(sizes) if size > room]
        if len(wide) <= 1:
            break
    order = [place for place in range(len(cells)) if place not in wide]
    widths = [max((sizes[place] for place in order[column::many]), default=0) for column in range(many)]
    rows = []
    for first in range(0, len(order), many):
        pairs = [cells[place] for place in order[first : first + many]]
        padding = [size - columns_of(label) - 1 for size, (label, _) in zip(widths, pairs, strict=False)]
        shown = [(f"{label} ", padded(value, size) + GAP) for (label, value), size in zip(pairs, padding, strict=True)]
        rows.append([part for pair in shown for part in pair])
    return rows + [[f"{cells[place][0]} ", cells[place][1]] for place in wide]


def make_display(quiet: bool = False, json: bool = False) -> Display:
    """The display that fits: nothing when quiet, lines on standard error beside --json, a panel in a terminal."""
    if quiet:
        return Quiet()
    if json:
        return Unfailing(PlainLines(sys.stderr), sys.stderr)
    return Unfailing(LivePanel() if sys.stdout.isatty() else PlainLines(), sys.stdout)


def panel_cells(now: Progress) -> list[tuple[str, str]]:
    """The panel's (label, value) pairs, row by row."""
    left = "…" if now.remaining_seconds is None else duration(now.remaining_seconds)
    known = [] if now.useful_batch is None else [("useful batch", f"{count(now.useful_batch)} sequences")]
    return [
        ("step", f"{now.step:,}/{now.steps:,}"),
        ("tokens", count(now.tokens)),
        ("loss", f"{now.loss:.4f}"),
        ("learning rate", f"{now.learning_rate:.2e}"),
        ("gradient norm", f"{now.gradient_norm:.3f}"),
        ("tokens/s", f"{now.tokens_per_second:,.0f}"),
        ("elapsed", duration(now.elapsed_seconds)),
        ("left", left),
        ("MFU", "…" if now.mfu is None else f"{now.mfu:.0%} of the peak measured here{_by_datasheet(now)}"),
        *([] if now.step_seconds is None else [("ms a step", f"{1e3 * now.step_seconds:,.1f}")]),
        *([] if now.epochs is None else [("epochs", f"{now.epochs:.3g}{_each(now)}")]),
        *known,
    ]


def _by_datasheet(now: Progress) -> str:
    return "" if now.mfu_datasheet is None else f", {now.mfu_datasheet:.0%} of the datasheet's"


def _each(now: Progress) -> str:
    return "" if now.epoch_seconds is None else f", {_short(now.epoch_seconds)} each"


def _short(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 9.5 else duration(seconds)


def progress_line(now: Progress) -> str:
    """One dense line."""
    epochs = "" if now.epochs is None else f"  epochs {now.epochs:.3g}{_each(now)}"
    mfu = "" if now.mfu is None else f"  MFU {now.mfu:.0%}{_by_datasheet(now)}"
    pace = "" if now.step_seconds is None else f"  {1e3 * now.step_seconds:,.1f} ms a step"
    left = "" if now.remaining_seconds is None else f"  left {duration(now.remaining_seconds)}"
    useful = "" if now.useful_batch is None else f"  useful batch {count(now.useful_batch)}"
    end = f"  at the end {now.end}" if now.end else ""
    elapsed = f"  elapsed {duration(now.elapsed_seconds)}"
    return (
        f"step {now.step:,}/{now.steps:,}  tokens {count(now.tokens)}{epochs}  loss {now.loss:.4f}  lr {now.learning_rate:.2e}  "
        f"norm {now.gradient_norm:.3f}  {now.tokens_per_second:,.0f} tokens/s{pace}{mfu}{useful}{elapsed}{left}{end}"
    )


def sparkline(values: list[float], points: int = TREND_POINTS) -> str:
    """The values as a row of bars, averaged down to at most `points` of them."""
    if not values:
        return ""
    width = max(1, math.ceil(len(values) / points))
    means = [
        sum(values[first : first + width]) / len(values[first : first + width])
        for first in range(0, len(values), width)
    ]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(BARS[min(len(BARS) - 1, int((value - low) / span * len(BARS)))] for value in means)


def duration(seconds: float) -> str:
    """Seconds as people say them: 8 s, 2 min 05 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def count(number: float) -> str:
    """A number with three digits and a unit: 812, 7.68k, 1.54M."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def byte_count(number: float) -> str:
    """Bytes with a unit: 37.9 MB, 1.25 GB."""
    return f"{number / 1e9:,.2f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
