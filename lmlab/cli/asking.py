"""A question before something is removed."""

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
        raise LabError("nothing was changed: answer y to go on, or add --yes")
