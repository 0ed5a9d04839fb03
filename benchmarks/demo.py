"""What the demo prints, for README.md and docs/getting-started.md: `docs/demo.json`.

    python -m benchmarks.demo                      # trains the recipe `first`: some minutes; not on Windows
    python -m benchmarks.published render          # into both pages

The training runs in a terminal of its own (a pseudoterminal). Kept are the lines before the first step, the panel at about HALFWAY
of the steps, and the lines from the end on; evaluations between are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import ROOT, context
from lmlab import LabError
from lmlab.files import write_json

DATA = ROOT / "docs" / "demo.json"
COLUMNS = 128
HALFWAY = 0.44
PART = re.compile(
    r"\x1b\[(?P<number>\d*)(?P<code>[A-Za-z])|\x1b\[\?\d+[hl]|(?P<line>\r\n|\n)|(?P<start>\r)|(?P<text>[^\x1b\r\n]+)"
)
STEP = re.compile(r"step ([\d,]+)/([\d,]+)")


class Screen:
    """A terminal's lines: knows line feeds, cursor up and erased lines, which is what the display uses."""

    def __init__(self) -> None:
        self.lines = [""]
        self.panels: list[list[str]] = []
        self.opened: int | None = None
        """The line at which the first panel was drawn."""
        self._row = 0

    def write(self, text: str) -> None:
        """Show what a program printed."""
        for part in PART.finditer(text):
            if part["line"]:
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))
            elif part["code"] == "A":
                self._row = max(0, self._row - int(part["number"] or 1))
            elif part["code"] == "K":
                self.lines[self._row] = ""
            elif part["text"]:
                self._put(part["text"])

    def _put(self, text: str) -> None:
        self.lines[self._row] += text
        if text.startswith("╭") and self.opened is None:
            self.opened = self._row
        if text.endswith("╯"):
            first = max(row for row in range(self._row + 1) if self.lines[row].startswith("╭"))
            self.panels.append(self.lines[first : self._row + 1])


def sample_of(screen: Screen) -> list[str]:
    """The lines to publish; LabError where the training didn't come to its end."""
    lines = [line.rstrip() for line in screen.lines]
    done = next((row for row, line in enumerate(lines) if line.startswith("done:")), None)
    last = next((row for row, line in enumerate(lines) if line.startswith("sample more:")), None)
    if screen.opened is None or done is None or last is None:
        raise LabError(f"the demo printed no end: expected lines from 'done:' to 'sample more:', found {lines[-1:]}")
    return [*lines[: screen.opened], "", *halfway(screen.panels), "", *lines[done:last]]


def halfway(panels: Sequence[list[str]]) -> list[str]:
    """The panel whose step is nearest to HALFWAY of all."""

    def off(panel: list[str]) -> float:
        found = STEP.search("\n".join(panel))
        step, steps = (int(number.replace(",", "")) for number in found.groups()) if found else (0, 1)
        return abs(step / steps - HALFWAY)

    return min(panels, key=off)


def printed(command: Sequence[str]) -> Screen:
    """Run the command in a terminal of COLUMNS; what its terminal showed."""
    try:
        import fcntl
        import pty
        import termios
    except ImportError:
        raise LabError("this system has no pseudoterminals: expected Linux or macOS") from None
    process, terminal = pty.fork()
    if process == 0:
        os.environ |= {"COLUMNS": str(COLUMNS), "TERM": "xterm"}
        os.execvp(command[0], list(command))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    said = b""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # Linux says so where the program has ended
            break
        if not piece:
            break
        said += piece
    os.waitpid(process, 0)
    screen = Screen()
    screen.write(said.decode("utf-8", errors="replace"))
    return screen


def main() -> int:
    """Train, keep what was printed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("words", nargs="*", help="further words of `lmlab train first`, after --")
    flags = parser.parse_args()
    around = context(None)
    machine = around["machine"]
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "lmlab", "train", "first", "--run", "demo-1", "--runs", runs, *flags.words]
        began = time.monotonic()
        try:
            lines = sample_of(printed(command))
        except LabError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 1
        seconds = time.monotonic() - began
    about = (
        f"{machine['physical_cores']} cores of an {machine['cpu']} ({', '.join(machine['instructions'])}), {around['date'][:10]}; "
        f"the whole command took {seconds:.0f} s. The corpus is the standard library of Python {machine['python']}: another "
        "version gives other figures."
    )
    write_json(flags.out, {"format": 1, **around, "seconds": seconds, "about": about, "lines": lines})
    print(*lines, about, flags.out, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
