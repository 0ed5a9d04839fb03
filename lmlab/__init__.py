"""lmlab: a laboratory for training language models from scratch on hardware that a person owns.

The front door. Names are looked up on first use, so that `import lmlab` costs nothing:

    import lmlab
    run = lmlab.train(lmlab.load_recipe("first"))
    print(lmlab.load(run).generate("def main("))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lmlab.experiment import load, resume, train
    from lmlab.recipe import Recipe, load_recipe

__all__ = ["LabError", "Recipe", "__version__", "load", "load_recipe", "resume", "train"]

_HOMES = {
    "Recipe": "lmlab.recipe",
    "load_recipe": "lmlab.recipe",
    "train": "lmlab.experiment",
    "resume": "lmlab.experiment",
    "load": "lmlab.experiment",
}


class LabError(Exception):
    """What a user can mend: one line that says what was wrong, what was expected and what to do.

    Every error that lmlab raises on purpose is one; the command line prints it and exits with status 1. It stands here
    because every floor raises it, and this module imports nothing.
    """


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lmlab' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
