"""TrainingProgress display of a training: a live panel in a terminal, plain lines elsewhere, nothing when quiet.

The display formats values and computes none; a forecast arrives as text. Titles and notes may quote names and recipes of other
users, so their control characters are escaped here.
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
from lmlab.recipe.quantities import count, duration

REFRESH_SECONDS = 0.25
BARS = "▁▂▃▄▅▆▇█"
TREND_POINTS = 40
MOST_COLUMNS = 3
GAP = "  "
FRAME = 4
"""Columns of the panel's border."""


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """The state of a training after one of its steps."""

    step: int
    steps: int
    tokens: int
    loss: float
    """Mean nats a token since the last log line, or of the last step."""
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    """Throughput of training steps only: evaluation, samples and saving excluded."""
    mfu: float | None
    """Share of the matrix-multiplication peak measured on this machine."""
    elapsed_seconds: float
    remaining_seconds: float | None
    end: str = ""
    """The extrapolated final loss as text; empty while the curve is too short to extrapolate."""
    step_seconds: float | None = None
    """Current seconds a step: evaluation, samples and saving excluded."""
    epochs: float | None = None
    """Passes over the training split so far, those of parent runs in the same stream included."""
    epoch_seconds: float | None = None
    """Current seconds an epoch: evaluation, samples and saving excluded."""
    mfu_datasheet: float | None = None
    """Share of the peak in the device's datasheet; None if it isn't known."""
    useful_batch: float | None = None
    """The gradient noise scale in sequences, up to which a larger batch pays; None if it isn't known."""


class Display(Protocol):
    """Shows the progress of a training loop to the user."""

    def open(self, title: str) -> None:
        """Start the display; called when a run begins or is resumed."""

    def progress(self, now: TrainingProgress, logged: bool) -> None:
        """Show a finished step; `logged` is True if the step also wrote a line of metrics."""

    def note(self, text: str) -> None:
        """Show a line that stays visible: an evaluation, a checkpoint, a warning."""

    def close(self) -> None:
        """End the display; called after the last step."""


class Quiet:
    """Shows nothing."""

    def open(self, title: str) -> None:
        """Do nothing."""

    def progress(self, now: TrainingProgress, logged: bool) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Unfailing:
    """Wraps a display so that its errors don't stop the training: once the terminal or pipe is closed, nothing is shown.

    Lines that would block on a full pipe are dropped, and their number is shown once the pipe is writable again. Everything
    that matters is also in the run's folder.
    """

    def __init__(self, shown: Display, stream: Any) -> None:
        """`stream` is the stream that `shown` writes to."""
        self.shown: Display = shown
        self._stream = stream
        self._left_out = 0

    def open(self, title: str) -> None:
        """See `Display`."""
        self._call(lambda: self.shown.open(title))

    def progress(self, now: TrainingProgress, logged: bool) -> None:
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
    """Redirect a stream whose reader has gone to the null device: flushing its buffer on close would fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def would_block(stream: Any) -> bool:
    """Return whether a write to `stream` would block; False if the system can't tell."""
    try:
        return not select.select([], [stream.fileno()], [], 0)[1]
    except (OSError, ValueError, AttributeError):
        return False


class PlainLines:
    """Prints a line for each line of metrics, for logs and pipes."""

    def __init__(self, stream: Any = None, every_seconds: float = 5.0) -> None:
        """`stream` defaults to standard output; at most one line of progress is printed in `every_seconds`."""
        self.stream = stream or sys.stdout
        self.every_seconds = every_seconds
        self._last = -math.inf

    def open(self, title: str) -> None:
        """Print the title."""
        self._print(title)

    def progress(self, now: TrainingProgress, logged: bool) -> None:
        """Print a line, unless the previous one was printed less than `every_seconds` ago."""
        clock = time.monotonic()
        if (logged and clock - self._last >= self.every_seconds) or now.step == now.steps:
            self._last = clock
            self._print(progress_line(now))

    def note(self, text: str) -> None:
        """Print the text."""
        self._print(text)

    def close(self) -> None:
        """Do nothing: no resource is open."""

    def _print(self, text: str) -> None:
        shown = encodable(printable(text), encoding_of(self.stream))
        print(*wrapped(shown, width_of(self.stream)), sep="\n", file=self.stream, flush=True)


class LivePanel:
    """A rich panel at the foot of the terminal, with the notes scrolling above it."""

    def __init__(self, console: Any = None) -> None:
        """`console` is a rich Console, by default on standard output."""
        from rich.console import Console

        self.console = console or Console()
        self.losses: list[float] = []
        self._title = ""
        self._live: Any = None
        self._next = 0.0

    def open(self, title: str) -> None:
        """Start drawing the panel."""
        from rich.live import Live

        self._title = printable(title)
        # Refreshed explicitly: rich's refresh thread would compete with the training threads.
        self._live = Live("", console=self.console, auto_refresh=False, transient=True)
        self._live.start()

    def progress(self, now: TrainingProgress, logged: bool) -> None:
        """Redraw the panel, at most once in `REFRESH_SECONDS`."""
        if logged and math.isfinite(now.loss):
            self.losses.append(now.loss)
        clock = time.monotonic()
        if self._live is not None and (clock >= self._next or now.step == now.steps):
            self._next = clock + REFRESH_SECONDS
            self._live.update(self._panel(now), refresh=True)

    def note(self, text: str) -> None:
        """Print a line above the panel."""
        from rich.text import Text

        shown = encodable(printable(text), self.console.encoding)
        self.console.print(Text("\n".join(wrapped(shown, self.console.width))), soft_wrap=True)

    def close(self) -> None:
        """Remove the panel; the notes stay."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _panel(self, now: TrainingProgress) -> Any:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        available, encoding = self.console.width - FRAME, self.console.encoding
        shown = [(label, encodable(value, encoding)) for label, value in panel_cells(now)]
        rows = [
            Text.assemble(*((part, "bold" if place % 2 else "dim") for place, part in enumerate(row)), overflow="fold")
            for row in grid_rows(shown, available)
        ]
        label = "loss trend "
        points = max(1, min(TREND_POINTS, available - len(label)))
        trend = encodable(sparkline(self.losses, points), encoding)
        rows.append(Text.assemble((label, "dim"), (trend, "cyan")))
        if now.end:
            rows.append(Text.assemble(("at the end ", "dim"), (encodable(now.end, encoding), "bold")))
        bar = ProgressBar(total=now.steps, completed=now.step, width=None)
        title = encodable(self._title, encoding)
        if columns_of(title) > available - 2:  # rich would cut it
            return Panel(Group(Text(title, overflow="fold"), *rows, bar), border_style="dim")
        return Panel(Group(*rows, bar), title=Text(title), title_align="left", border_style="dim")


def grid_rows(cells: list[tuple[str, str]], width: int) -> list[list[str]]:
    """Return rows of alternating labels and values, as many pairs a row as fit `width` columns, at most `MOST_COLUMNS`.

    One pair that is wider than a column gets a row of its own at the end.
    """
    sizes = [columns_of(label) + 1 + columns_of(value) for label, value in cells]
    for many in range(MOST_COLUMNS, 0, -1):
        available = (width - len(GAP) * (many - 1)) // many
        wide = [place for place, size in enumerate(sizes) if size > available]
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
    """Return the display for these flags: none if quiet, lines on standard error with --json, a panel in a terminal, else lines."""
    if quiet:
        return Quiet()
    if json:
        return Unfailing(PlainLines(sys.stderr), sys.stderr)
    return Unfailing(LivePanel() if sys.stdout.isatty() else PlainLines(), sys.stdout)


def panel_cells(now: TrainingProgress) -> list[tuple[str, str]]:
    """Return the panel's (label, value) pairs, row by row."""
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


def _by_datasheet(now: TrainingProgress) -> str:
    return "" if now.mfu_datasheet is None else f", {now.mfu_datasheet:.0%} of the datasheet's"


def _each(now: TrainingProgress) -> str:
    return "" if now.epoch_seconds is None else f", {_short(now.epoch_seconds)} each"


def _short(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 9.5 else duration(seconds)


def progress_line(now: TrainingProgress) -> str:
    """Return the progress as one line."""
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
    """Return the values as a row of bars, averaged to at most `points` bars."""
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
