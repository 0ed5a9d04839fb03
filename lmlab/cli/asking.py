"""Confirmation before something is removed."""

from __future__ import annotations

import sys
from collections.abc import Callable

from lmlab import LabError, printable
from lmlab.cli.errors import UsageError


def require_yes(question: str, yes: bool, ask: Callable[[str], str] = input) -> None:
    """Return where `yes` is given or the user answers y; LabError otherwise, UsageError without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to answer: confirm it with --yes")
    try:
        answer = ask(f"{printable(question)} [y/N] ").strip().lower()
    except EOFError:
        answer = ""
    if answer not in ("y", "yes"):
        raise LabError("nothing was changed: answer y to continue, or add --yes")
