"""A question before something is removed, and how sizes are shown in it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from lmlab import LabError, printable
from lmlab.cli.errors import UsageError


def require_yes(question: str, yes: bool, ask: Callable[[str], str] = input) -> None:
    """Return where `yes` is given or a person answers y; LabError otherwise, UsageError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody can answer here: say it with --yes")
    try:
        answer = ask(f"{printable(question)} [y/N] ").strip().lower()
    except EOFError:
        answer = ""
    if answer not in ("y", "yes"):
        raise LabError("nothing was changed")


def size_text(count: float) -> str:
    """Bytes in MB or GB."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
