"""Kinds that other packages register: model families, optimizers, schedules, tokenizers and engines.

The environment variable LMLAB_EXTENSIONS names modules, separated by commas, that register kinds when they are imported. Every
command imports them, and so does every process that lmlab starts for a trial or a study. What a script registers by itself is known
in that process alone.
"""

from __future__ import annotations

import importlib
import os

from lmlab import LabError
from lmlab.recipe.experiment import Recipe

VARIABLE = "LMLAB_EXTENSIONS"

_packages: dict[tuple[str, str], str] = {}
"""(setting, name) -> the package of the class or function that was registered under it."""


def load_extensions() -> None:
    """Import the modules that LMLAB_EXTENSIONS names. LabError if one of them can't be imported."""
    for name in _named():
        try:
            importlib.import_module(name)
        except Exception as error:
            raise LabError(
                f"{VARIABLE} names {name}, which can't be imported: {type(error).__name__}: {error}; "
                "expected modules on PYTHONPATH, separated by commas"
            ) from None


def note_kind(setting: str, name: str, owner: object) -> None:
    """Record that `owner`, a class or function, was registered as the value `name` of a setting such as `optim.kind`."""
    _packages[setting, name] = _package(str(getattr(owner, "__module__", "")))


def known_only_here(recipe: Recipe) -> str | None:
    """Return a setting of the recipe, such as "optim.kind sign", that only this process knows; None without one.

    Other processes know what is of lmlab itself, or of a package of which LMLAB_EXTENSIONS names a module.
    """
    elsewhere = {"lmlab", *map(_package, _named())}
    used = {
        ("model.kind", recipe.model.kind),
        ("optim.kind", recipe.optim.kind),
        ("schedule.kind", recipe.schedule.kind),
        ("data.tokenizer", recipe.data.tokenizer),
        ("train.engine", recipe.train.engine),
    }
    return next((" ".join(one) for one in sorted(used) if _packages.get(one, "lmlab") not in elsewhere), None)


def require_known_elsewhere(recipe: Recipe) -> None:
    """Raise LabError if another process could not read the recipe."""
    found = known_only_here(recipe)
    if found is not None:
        raise LabError(
            f"{found} is registered in this process only: expected its module in {VARIABLE}, so that other processes import it"
        )


def _named() -> list[str]:
    return [name for part in os.environ.get(VARIABLE, "").split(",") if (name := part.strip())]


def _package(module: str) -> str:
    return module.partition(".")[0]
