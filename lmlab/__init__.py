"""lmlab: a laboratory for training language models from scratch on one's own hardware.

The public interface. Names are imported on first use, so that `import lmlab` costs nothing:

    import lmlab
    run = lmlab.train(lmlab.load_recipe("first"))
    print(lmlab.load(run).generate("def main("))
"""

from __future__ import annotations

import importlib
import sys
import time
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
IMPORTED = time.monotonic()
"""The earliest known time of this process."""

if TYPE_CHECKING:
    from lmlab.experiment.loaded import load
    from lmlab.experiment.resuming import resume
    from lmlab.experiment.start import train
    from lmlab.recipe import Recipe, load_recipe

__all__ = ["LabError", "Recipe", "StorageError", "__version__", "load", "load_recipe", "printable", "resume", "train"]


KEPT = "\u00ad\u200c\u200d\u200e\u200f"
"""Format characters that scripts need: soft hyphen, joiners, and the direction marks, which reorder no other text."""
LINES = "\n\t"


def printable(text: object, lines: bool = False) -> str:
    """Return `str(text)` with everything that a terminal would interpret escaped, such as `\\x1b`; idempotent.

    That is: control characters, line breaks, bidirectional overrides and isolates, lone surrogates, and unassigned or
    private-use code points. `lines` keeps newlines and tabs, for text that is shown verbatim instead of within a line.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    kept = KEPT + LINES if lines else KEPT
    return "".join(sign if sign in kept or _harmless(sign) else _escaped(sign) for sign in shown)


def _harmless(sign: str) -> bool:
    """Return whether it is a letter, mark, number, punctuation, symbol or space."""
    return unicodedata.category(sign)[0] in "LMNPS" or unicodedata.category(sign) == "Zs"


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


class LabError(Exception):
    """An error that the user can correct: one line with what was wrong, what was expected and what to do.

    Every error that lmlab raises on purpose is one; the command line prints it and exits with its `status`. It is defined here
    because every package raises it, and this module imports nothing of lmlab.

    It may quote the content of a file: line breaks, terminal escapes and the like are shown, not sent.
    """

    status = 1
    """The exit status of a command that ends with it."""
    LONGEST = 4000
    """Maximum characters of the line; a longer one loses its middle, so that the text after a long name is still shown."""

    def __str__(self) -> str:
        return self._shortened(printable(self._shortened(super().__str__())))

    def _shortened(self, text: str) -> str:
        half = self.LONGEST // 2
        return text if len(text) <= self.LONGEST + 3 else f"{text[:half]}...{text[-half:]}"


class StorageError(LabError):
    """The disk or its file system failed, or has too little space: the same command continues once that is corrected.

    It doesn't depend on the request, so no study counts such a run as failed.
    """


def lazily(package: str, homes: dict[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`: each name of `homes` is imported from its module on first use.

    So `lmlab --help` needs no torch, and a type checker still sees the names in the package's TYPE_CHECKING block.
    """

    def look_up(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return look_up


__getattr__ = lazily(
    __name__,
    {
        "Recipe": "recipe",
        "load_recipe": "recipe",
        "train": "experiment.start",
        "resume": "experiment.resuming",
        "load": "experiment.loaded",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
