"""The definition of a study: a TOML file, the name of one that comes with lmlab, or a recipe with --vary.

format = 1
name = "interventions"
recipe = "shakespeare-cpu"          # a recipe's name or file, or a text (with size = "2M" for its model)
design = "cumulative"               # or one-factor, factorial
seeds = 3
[settings]                          # of all its runs
train.steps = 400
[[factors]]
name = "dropout"
field = "model.dropout"
values = [0.1]
[[factors]]
name = "size"
levels = [{ label = "small", model.width = 64, model.heads = 2 }]
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.recipe import is_recipe
from lmlab.recipe.override import require_setting
from lmlab.recipe.text import parse_toml, toml_text
from lmlab.runs.names import is_run_name
from lmlab.study.grid.design import DesignName, Factor, Level

FORMAT = 1
LONGEST_NAME = 40
MOST_SEEDS = 1000
ENTRIES = ("format", "name", "about", "recipe", "size", "design", "seeds", "workers", "settings", "factors")
SHIPPED = "studies"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A study before any data is read or prepared."""

    name: str
    about: str = ""
    recipe: str
    """A recipe's name or file, or a text."""
    size: str = ""
    """Size of a text's model, such as 2M; empty: chosen for the text and this machine."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted names with their values, for all runs."""
    factors: tuple[Factor, ...]
    design: DesignName = "one-factor"
    seeds: int = 3
    workers: int = 1


def study_names() -> list[str]:
    """Return the names of the studies that come with lmlab."""
    folder = resources.files("lmlab") / SHIPPED
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def is_study(target: str) -> bool:
    """Return whether `target` is a shipped study, or a TOML file with factors in it."""
    if target in study_names():
        return True
    path = Path(target)
    return path.suffix == ".toml" and path.is_file() and "factors" in parse_toml(study_text(path), target)


def load_study(target: str) -> Definition:
    """Return the study of that name or in that file; LabError with the nearest name where there is neither."""
    if target in study_names():
        text = (resources.files("lmlab") / SHIPPED / f"{target}.toml").read_text(encoding="utf-8")
    elif target.endswith(".toml"):
        text = study_text(Path(target))
    else:
        close = difflib.get_close_matches(target, study_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(study_names())}, or a .toml file"
        raise LabError(f"there is no study '{target[:60]}': {hint}")
    return definition_from(parse_toml(text, target), target)


def definition_from(value: Mapping[str, Any], origin: str) -> Definition:
    """Parse the study from TOML's values; a LabError begins with `origin`."""
    try:
        return _definition(value, Path(origin).stem)
    except LabError as error:
        raise LabError(f"{origin}: {error}") from None


def asked(
    target: str,
    vary: Sequence[str],
    settings: Mapping[str, Any],
    *,
    design: str = "",
    seeds: int = 0,
    name: str = "",
    size: str = "",
) -> Definition:
    """Return the study that the command line describes: a study's name or file, or a recipe or text with fields to vary.

    `settings` are dotted names for all runs; an empty or 0 option leaves the study's own value. LabError where it isn't valid.
    """
    if is_study(target):
        found = load_study(target)
        found = replace(found, factors=(*found.factors, *varied(vary)))
    elif vary:
        factors = varied(vary)
        stem = re.sub(r"[^\w.+-]+", "-", Path(target).stem).strip("-._+") or "text"
        own = "-".join([stem, *(factor.name for factor in factors)])[:LONGEST_NAME].rstrip("-._+")
        found = Definition(name=study_name(name or own), recipe=target, factors=factors)
    elif not is_recipe(target) and not Path(target).exists():
        return load_study(target)  # its error lists the shipped studies
    else:
        raise LabError(f"{target} is no study: say what to vary, such as --vary optim.lr=1e-3,3e-3")
    changes: dict[str, Any] = {"settings": {**found.settings, **settings}}
    if design:
        changes["design"] = design
    if seeds:
        changes["seeds"] = whole({"seeds": seeds}, "seeds", seeds, MOST_SEEDS)
    if name:
        changes["name"] = study_name(name)
    if size:
        changes["size"] = size
    found = replace(found, **changes)
    for factor in found.factors:  # before a text is read for the recipe
        for setting in {setting for level in factor.levels for setting in level.settings}:
            require_setting(setting)
    return found


def varied(words: Sequence[str]) -> tuple[Factor, ...]:
    """Parse factors such as `optim.lr=1e-3,3e-3`; the values of a field that takes a list are separated by `;`."""
    factors = []
    for word in words:
        name, equals, values = word.partition("=")
        parts = [part.strip() for part in values.split(";" if ";" in values else ",")]
        if not equals or not name or not all(parts):
            raise LabError(f"--vary {word[:60]} can't be read: expected FIELD=VALUE,VALUE such as optim.lr=1e-3,3e-3")
        factors.append(_of_values(name.rpartition(".")[2], name, parts))
    return tuple(factors)


def _definition(value: Mapping[str, Any], stem: str) -> Definition:
    require_known(value, ENTRIES)
    if value.get("format", FORMAT) != FORMAT:
        raise LabError(
            f"format {str(value['format'])[:20]} is not one that this version reads: expected {FORMAT}, or a newer lmlab"
        )
    factors = value.get("factors")
    if not isinstance(factors, list) or not factors:
        raise LabError("a study varies something: write [[factors]] with a name, and field and values, or levels")
    return Definition(
        name=study_name(word(value, "name", stem)),
        about=word(value, "about", ""),
        recipe=word(value, "recipe"),
        size=word(value, "size", ""),
        settings=flattened(table(value, "settings")),
        factors=tuple(_factor(entry) for entry in factors),
        design=word(value, "design", "one-factor"),  # type: ignore[arg-type]  # require_factors lists the valid ones
        seeds=whole(value, "seeds", 3, MOST_SEEDS),
        workers=whole(value, "workers", 1, MOST_SEEDS),
    )


def study_name(name: str) -> str:
    """Return `name`; LabError where run names can't contain it."""
    if not is_run_name(name) or len(name) > LONGEST_NAME:
        raise LabError(
            f"a study can't be named {name[:60]!r}: expected up to {LONGEST_NAME} letters, digits, and . _ + -"
        )
    return name


def flattened(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Flatten nested tables to dotted names.

    >>> flattened({"model": {"width": 64}, "train.steps": 9})
    {'model.width': 64, 'train.steps': 9}
    """
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found.update(flattened(value, f"{before}{name}."))
        else:
            found[before + name] = tuple(value) if isinstance(value, list) else value
    return found


def whole(value: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """Return a whole number from 1 to `most`, or raise LabError."""
    number = value.get(name, default)
    if type(number) is not int or not 1 <= number <= most:
        raise LabError(f"{name} can't be {str(number)[:40]}: expected a whole number from 1 to {most:,}")
    return number


def _factor(value: Any) -> Factor:
    if not isinstance(value, dict):
        raise LabError("a factor is a table: write [[factors]] above each")
    name = word(value, "name", str(value.get("field", "")).rpartition(".")[2] or None)
    values, levels = value.get("values"), value.get("levels")
    if set(value) <= {"name", "field", "values"} and isinstance(values, list) and values:
        return _of_values(name, word(value, "field"), [tuple(one) if isinstance(one, list) else one for one in values])
    if set(value) <= {"name", "levels"} and isinstance(levels, list) and levels:
        return _distinct(Factor(name=name, levels=tuple(_level(name, entry) for entry in levels)))
    raise LabError(f"the factor {name[:40]} can't be read: expected name, field and values, or name and levels")


def _of_values(name: str, field_name: str, values: Sequence[Any]) -> Factor:
    levels = tuple(Level(label=_shown(value), settings={field_name: value}) for value in values)
    return _distinct(Factor(name=name, levels=levels))


def _level(factor: str, value: Any) -> Level:
    settings = (
        flattened({key: part for key, part in value.items() if key != "label"}) if isinstance(value, dict) else {}
    )
    if not settings:
        raise LabError(
            f"a level of {factor[:40]} can't be read: expected a table with a label and the settings it changes"
        )
    return Level(label=word(value, "label", "on"), settings=settings)


def _distinct(factor: Factor) -> Factor:
    labels = [level.label for level in factor.levels]
    if len(set(labels)) < len(labels):
        raise LabError(f"the factor {factor.name} has a level twice: expected each of {', '.join(labels)[:80]} once")
    return factor


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_shown, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def require_known(value: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise LabError with the nearest name for an entry that isn't one of these."""
    for name in value:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            raise LabError(f"unknown entry '{name}': expected {close[0] if close else 'one of ' + ', '.join(names)}")


def word(value: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """Return the text under that name, which may be empty only where the default is; LabError for anything else."""
    found = value.get(name, default)
    if not isinstance(found, str) or (not found and default != ""):
        raise LabError(f"{name} can't be {str(found)[:40]!r}: expected text")
    return found


def table(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the table under that name, an empty one where there is none."""
    found = value.get(name, {})
    if not isinstance(found, dict):
        raise LabError(f"[{name}] must be a table")
    return found


def study_text(path: Path) -> str:
    """Return the text of a study's or a worked example's file; LabError where it can't be read."""
    return toml_text(path, "a study", "expected a study's .toml file")
