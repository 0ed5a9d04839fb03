"""lmlab: a laboratory for training language models from scratch on hardware that a person owns.

The front door. Names are looked up on first use, so that `import lmlab` costs nothing:

    import lmlab
    run = lmlab.train(lmlab.load_recipe("first"))
    print(lmlab.load(run).generate("def main("))
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lmlab.printable import printable

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lmlab.experiment import load, resume, train
    from lmlab.recipe import Recipe, load_recipe

__all__ = ["LabError", "Recipe", "StorageError", "__version__", "load", "load_recipe", "resume", "train"]


class LabError(Exception):
    """What a user can mend: one line that says what was wrong, what was expected and what to do.

    Every error that lmlab raises on purpose is one; the command line prints it and exits with its `status`. It stands here
    because every floor raises it, and this module imports nothing but `printable`.

    What it quotes may come out of a file: line breaks, a terminal's escapes and the like are shown, not sent.
    """

    status = 1
    """The exit status of a command that ends with it."""
    LONGEST = 4000
    """Characters of the line; of a longer one the middle is left out, so that what a long name is followed by still shows."""

    def __str__(self) -> str:
        return self._shortened(printable(self._shortened(super().__str__())))

    def _shortened(self, text: str) -> str:
        half = self.LONGEST // 2
        return text if len(text) <= self.LONGEST + 3 else f"{text[:half]}...{text[-half:]}"


class StorageError(LabError):
    """The disk or its file system refused, or has too little room: the same command goes on once that is mended.

    Nothing is wrong with what was asked for; so no study counts such a run as failed.
    """


def lazily(package: str, homes: dict[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: each name of `homes` is looked up in its module when it's first asked for.

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
    {"Recipe": "recipe", "load_recipe": "recipe", "train": "experiment", "resume": "experiment", "load": "experiment"},
)


def __dir__() -> list[str]:
    return sorted(__all__)
