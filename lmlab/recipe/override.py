"""Changing a recipe by dotted names, as the command line, TOML files and studies do.

`override(recipe, {"model.layers": "6", "optim.kind": "muon"})` returns a new Recipe. Text is parsed by the field's type;
values that already have a type (from TOML) must have the field's. Invalid names and values are refused in one line that states what
was expected and the nearest valid name.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, NoReturn

from lmlab import LabError
from lmlab.recipe.experiment import SECTIONS, Recipe
from lmlab.recipe.foreign import foreign_name_hint
from lmlab.recipe.kinds import KINDS
from lmlab.recipe.model import Model
from lmlab.recipe.quantities import count_in
from lmlab.recipe.setting import is_count, limit_problem

KINDS_THAT_SHARE_VALUES = ("model", "schedule")
"""Sections in which a new kind keeps the fields of the same name; optimizers don't, since a rate has another meaning in each."""

PRESET = "model.preset"
TOP_LEVEL = ("name", "about", "published_vocabulary")
LONGEST_SHOWN = 100
MOST_LISTED = 24
"""Names that an error lists; of a longer list the nearest three."""

TRUTH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
"""Words for a boolean setting."""


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return `recipe` with each dotted name in `changes` set; raises LabError for an unknown name or an impossible value."""
    known = _known_names(recipe, changes)
    for name in changes:
        if name not in known:
            _refuse_unknown(recipe, name, changes, known)
    for section, kinds in KINDS.items():
        if f"{section}.kind" in changes:
            recipe = dataclasses.replace(
                recipe, **{section: _of_kind(recipe, section, kinds, changes[f"{section}.kind"])}
            )
    if PRESET in changes:
        recipe = dataclasses.replace(
            recipe, model=dataclasses.replace(recipe.model, **_preset(recipe.model, changes[PRESET]))
        )
    for name, value in changes.items():
        if name == PRESET or name.endswith(".kind"):
            continue
        section, _, key = name.rpartition(".")
        target: Any = getattr(recipe, section) if section else recipe
        changed: Any = dataclasses.replace(target, **{key: _converted(name, _field(target, key), type(target), value)})
        recipe = dataclasses.replace(recipe, **{section: changed}) if section else changed
    return recipe


def dotted_names(recipe: Recipe) -> list[str]:
    """Return every name that `override` accepts for a recipe of these kinds."""
    names = [name for section in SECTIONS for name in _names_of(section, type(getattr(recipe, section)))]
    return [*names, *TOP_LEVEL]


def is_switch(name: str) -> bool:
    """Return whether a dotted name is a boolean setting, so that the bare flag can mean true."""
    section, _, key = name.partition(".")
    return section in SECTIONS and any(_annotations(choice).get(key) is bool for choice in _choices(section))


def shown(value: Any) -> str:
    """Return a value as text for a message, truncated if it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def require_setting(name: str) -> None:
    """Raise LabError if no recipe of any kind has a setting of this dotted name."""
    every = [own for section in SECTIONS for kind in _choices(section) for own in _names_of(section, kind)]
    if name not in every:
        _refuse_unknown(Recipe(), name, {}, list(dict.fromkeys(every)))


def nearest(word: str, among: list[str]) -> str:
    """Return "did you mean X?", else the valid names, or the nearest three of a long list."""
    leaf = word.rpartition(".")[2]
    close = difflib.get_close_matches(word, among, n=1, cutoff=0.6 if "." in word else 0.75)
    close = close or [name for name in among if name.rpartition(".")[2] == leaf]
    close = close or difflib.get_close_matches(leaf, [name.rpartition(".")[2] for name in among], n=1, cutoff=0.7)
    if close and "." not in close[0]:
        close = [name for name in among if name.rpartition(".")[2] == close[0]]
    if close:
        return f"did you mean {close[0]}?"
    if len(among) <= MOST_LISTED:
        return f"expected one of {', '.join(among)}"
    alike = sorted(among, key=lambda name: -difflib.SequenceMatcher(None, leaf, name.rpartition(".")[2]).ratio())
    return f"the nearest are {', '.join([name for name in alike if '.' in name][:3] or alike[:3])}"


def _choices(section: str) -> list[type]:
    """Return the dataclasses that may describe a section, one per kind."""
    return [*KINDS.get(section, {}).values()] or [type(getattr(Recipe(), section))]


def _known_names(recipe: Recipe, changes: Mapping[str, Any]) -> list[str]:
    """Return every name allowed in `changes`, given the kinds in it."""
    known = dotted_names(recipe)
    for section, kinds in KINDS.items():
        chosen = kinds.get(str(changes.get(f"{section}.kind", "")))
        if chosen is not None:
            known = [entry for entry in known if not entry.startswith(f"{section}.")]
            known += _names_of(section, chosen)
    return known


def _names_of(section: str, choice: type) -> list[str]:
    """Return the dotted names of the section `section` described by the dataclass `choice`."""
    names = [f"{section}.{entry.name}" for entry in dataclasses.fields(choice)]
    return [*names, PRESET] if getattr(choice, "presets", None) else names


def _refuse_unknown(recipe: Recipe, name: str, changes: Mapping[str, Any], known: list[str]) -> NoReturn:
    for section, kinds in KINDS.items():
        for kind, choice in kinds.items():
            if name in _names_of(section, choice):
                now = changes.get(f"{section}.kind", getattr(recipe, section).kind)
                raise LabError(
                    f"{name} belongs to {section}.kind = {kind}, but {section}.kind is {now}: set {section}.kind {kind}, or leave "
                    f"{name} out"
                )
    if name in SECTIONS:
        raise LabError(
            f"'{name}' is a section: expected one of its settings, such as {name}.{_some_field(recipe, name)}"
        )
    line = foreign_name_hint(name)
    if line is not None:
        raise LabError(line)
    raise LabError(f"unknown setting '{name}': {nearest(name, known)}")


def _some_field(recipe: Recipe, section: str) -> str:
    return next(entry.name for entry in dataclasses.fields(getattr(recipe, section)) if entry.name != "kind")


def _of_kind(recipe: Recipe, section: str, kinds: dict[str, type], kind: Any) -> Any:
    if not isinstance(kind, str) or kind not in kinds:
        raise LabError(f"{section}.kind can't be {shown(kind)}: expected one of {', '.join(kinds)}")
    now = getattr(recipe, section)
    if now.kind == kind:
        return now
    shared: dict[str, Any] = {}
    if section in KINDS_THAT_SHARE_VALUES:
        names = {entry.name for entry in dataclasses.fields(kinds[kind])} - {"kind"}
        shared = {entry.name: getattr(now, entry.name) for entry in dataclasses.fields(now) if entry.name in names}
    chosen = kinds[kind]()
    return dataclasses.replace(
        chosen, **{name: value for name, value in shared.items() if _may_be(chosen, name, value)}
    )


def _may_be(target: Any, key: str, value: Any) -> bool:
    """Return whether a section's setting accepts a value that a setting of the same name has in another kind."""
    try:
        _converted(key, _field(target, key), type(target), value)
    except LabError:
        return False
    return True


def _preset(model: Model, name: Any) -> dict[str, Any]:
    if not isinstance(name, str) or name not in model.presets:
        raise LabError(f"model.preset can't be {shown(name)}: expected one of {', '.join(model.presets)}")
    return dict(model.presets[name])


def _field(target: Any, key: str) -> dataclasses.Field[Any]:
    return next(entry for entry in dataclasses.fields(target) if entry.name == key)


@functools.cache
def _annotations(owner: type) -> dict[str, Any]:
    """Return the types of a section's settings. Cached, since reading the recipes of all finished runs spends most of its time
    here.
    """
    return typing.get_type_hints(owner)


def _converted(name: str, entry: dataclasses.Field[Any], owner: type, value: Any) -> Any:
    annotation = _annotations(owner)[entry.name]
    number = count_in(value) if is_count(entry) and isinstance(value, str) else None
    try:
        converted = parse(value if number is None else number, annotation)
    except ValueError:
        form = expected(annotation)
        form = form.replace("a whole number", "a whole number such as 500k or 3.3B") if is_count(entry) else form
        raise LabError(f"{name} can't be {shown(value)}: expected {form}") from None
    problem = limit_problem(entry, converted)
    if problem:
        each = "each " if isinstance(converted, tuple) else ""
        found = shown(value) if isinstance(converted, str) else str(value)[:LONGEST_SHOWN]
        raise LabError(f"{name} can't be {found}: expected {each}{problem}")
    return converted


def parse(value: Any, annotation: Any) -> Any:
    """Convert `value` (text, or an already typed value) to the annotated type; raises ValueError if it can't be.

    >>> parse("1e4", int), parse("none", int | None), parse("0.9, 0.95", tuple[float, float])
    (10000, None, (0.9, 0.95))
    >>> parse("2,3", tuple[int, ...]), parse("none", tuple[int, ...])
    ((2, 3), ())
    """
    origin, choices = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        if value is None or value == "none":
            return None
        return parse(value, next(choice for choice in choices if choice is not type(None)))
    if origin is typing.Literal:
        return _member(value, choices)
    if origin is tuple:
        return _tuple(value, choices)
    return _scalar(value, annotation)


def _member(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(value)
    return value


def _tuple(value: Any, choices: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = _listed(value, choices) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise ValueError(value)
    if choices[-1] is Ellipsis:
        return tuple(parse(part, choices[0]) for part in parts)
    if len(parts) != len(choices):
        raise ValueError(value)
    return tuple(parse(part, choice) for part, choice in zip(parts, choices, strict=True))


def _listed(text: str, choices: tuple[Any, ...]) -> list[str]:
    """Return the parts of a comma-separated list; for a list of strings the whole text, since it may contain commas."""
    if choices[0] is str:
        return [text] if text else []
    inner = text.strip("()[] ")
    if choices[-1] is Ellipsis and inner in ("", "none"):
        return []
    return [part.strip() for part in inner.split(",")]


def _scalar(value: Any, annotation: type) -> Any:
    if annotation is bool:
        if isinstance(value, str) and value.lower() in TRUTH:
            return TRUTH[value.lower()]
        if isinstance(value, bool):
            return value
        raise ValueError(value)
    if annotation is str:
        if not isinstance(value, str):
            raise ValueError(value)
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(value)
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("more than a float holds") from None
    if annotation is float:
        return number
    if not number.is_integer():  # also false for infinities and NaN
        raise ValueError(value)
    return (
        int(value.replace("_", ""))
        if isinstance(value, str) and value.replace("_", "").lstrip("+-").isdigit()
        else int(number)
    )


def expected(annotation: Any) -> str:
    """Return a description of the annotation: the form of its values."""
    origin, choices = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return expected(next(choice for choice in choices if choice is not type(None))) + " or none"
    if origin is typing.Literal:
        return "one of " + ", ".join(str(choice) for choice in choices)
    if origin is tuple:
        if choices[-1] is Ellipsis:
            return f"a list with a comma between, each {expected(choices[0])}"
        return f"{len(choices)} values with a comma between, each {expected(choices[0])}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[annotation]
