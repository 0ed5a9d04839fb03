"""Recipes as TOML: every field is written, so that a file keeps its meaning if defaults change.

TOML has no null: a field that is None is written as the word "none". A hand-written file may name another as its `base`
and contain only the differences.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.recipe.check import check
from lmlab.recipe.derived import with_settings
from lmlab.recipe.experiment import SECTIONS, Claim, Recipe
from lmlab.recipe.foreign import foreign_name_hint
from lmlab.recipe.identity import recipe_hash
from lmlab.recipe.kinds import KINDS
from lmlab.recipe.override import PRESET, TOP_LEVEL, dotted_names, nearest, override, shown

Base = Callable[[str], Recipe]
"""Returns the recipe that a file names as its base; raises LabError if there is none."""
FORMAT = 1
LARGEST_BYTES = 1_000_000
DEEPEST = 4
"""Nesting levels: the file, its list of claims, a claim, a value in it."""
MOST_PARTS = 8
LONG_KEY = re.compile(
    r"""^[ \t]*(?:\[\[?[ \t]*)?(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){8}""", re.MULTILINE
)
"""A line that begins with a dotted name of more than MOST_PARTS parts, which takes tomllib quadratic time."""
BRACKETS = re.compile(r"""\"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|\#[^\n]*+|[\[\]{}]""")
"""Quoted text and comments, which are passed over, and what opens or closes a list or table."""
DEEPEST_READ = 100
"""tomllib calls itself for each level, in quadratic time, until Python's limit of calls, which other libraries raise."""
CLAIM_TYPES: dict[str, Any] = {"metric": str, "value": (int, float), "source": str, "step": int, "note": str}
MOST_CLAIMED = 1e15
FREE_TEXT = ("corpus", "column", "separator", "device", "prompts")
"""Settings whose text may look like a number."""


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as nested plain values, in the order of its fields."""
    value: dict[str, Any] = {"format": FORMAT}
    for name in TOP_LEVEL:
        value[name] = _plain(getattr(recipe, name))
    if recipe.derived:
        value["derived"] = list(recipe.derived)
    for section in SECTIONS:
        entries = dataclasses.fields(getattr(recipe, section))
        value[section] = {entry.name: _plain(getattr(getattr(recipe, section), entry.name)) for entry in entries}
    value["claims"] = [
        {key: part for key, part in dataclasses.asdict(claim).items() if part is not None} for claim in recipe.claims
    ]
    return value


def to_toml(recipe: Recipe) -> str:
    """Return the recipe as TOML text, which `from_toml` converts back to an equal recipe."""
    import tomli_w

    return tomli_w.dumps(to_dict(recipe))


def from_dict(value: dict[str, Any], origin: str, base: Base | None = None) -> Recipe:
    """Return the recipe that nested plain values describe; missing fields have their defaults, or the values of its `base`.

    `base` loads the recipe named by the entry `base`, if one is allowed. Raises LabError that begins with `origin` (a file's
    name) for an invalid recipe.
    """
    try:
        return check(_from_dict(value, base))
    except LabError as error:
        raise LabError(f"{origin}: {error}") from None


def from_toml(text: str, origin: str = "recipe", base: Base | None = None) -> Recipe:
    """Return the recipe in TOML text, `base` as for `from_dict`; raises LabError if it isn't valid TOML or not a recipe."""
    if LONG_KEY.search(text):
        raise LabError(f"{origin} is not a recipe: expected names of at most {MOST_PARTS} parts")
    value = parse_toml(text, origin)
    if not _is_plain(value, DEEPEST):
        raise LabError(
            f"{origin} is not a recipe: expected values that 64 bits hold, in lists and tables {DEEPEST} deep at most"
        )
    return from_dict(value, origin, base)


def parse_toml(text: str, origin: str) -> dict[str, Any]:
    """Parse TOML; a LabError begins with `origin`."""
    if nesting(text) > DEEPEST_READ:
        raise LabError(
            f"{origin} is not valid TOML: brackets are nested more than {DEEPEST_READ} deep; correct that line"
        )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise LabError(f"{origin} is not valid TOML: {error}; correct that line") from None


def nesting(text: str) -> int:
    """Return how deep brackets and braces are nested in TOML text, outside quotes and comments."""
    deepest = depth = 0
    for found in BRACKETS.finditer(text):
        sign = found[0]
        depth = depth + 1 if sign in "[{" else max(0, depth - 1) if sign in "]}" else depth
        deepest = max(deepest, depth)
    return deepest


def read_recipe(path: Path, base: Base | None = None) -> Recipe:
    """Return the recipe in a TOML file; without a name in the file, the file's name is used. `base` as for `from_dict`."""
    recipe = from_toml(recipe_text(path), str(path), base)
    return dataclasses.replace(recipe, name=path.stem) if recipe.name == Recipe().name else recipe


def recipe_text(path: Path) -> str:
    """Return the content of a recipe's file; raises LabError if it can't be read or isn't text."""
    return toml_text(path, "a recipe", "lmlab recipes lists those that lmlab has")


def toml_text(path: Path, content: str, instead: str) -> str:
    """Return the text of a TOML file; raises LabError if it can't be read or isn't text.

    `content` names what it should contain, such as "a recipe"; `instead` says what to do where there is no such file.
    """
    try:
        if path.exists() and not path.is_file():
            raise LabError(f"{path} is not a file: expected {content} in TOML")
        if path.stat().st_size > LARGEST_BYTES:
            raise LabError(f"{path} is larger than {LARGEST_BYTES:,} bytes: expected {content}")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise LabError(f"there is no {content.split()[-1]} file {path}: {instead}") from None
    except UnicodeDecodeError as error:
        raise LabError(f"{path} is not UTF-8 at byte {error.start}: expected {content} in TOML") from None
    except OSError as error:
        raise LabError(f"{path} can't be read: {error.strerror}; check its permissions") from None


def _from_dict(value: dict[str, Any], base: Base | None) -> Recipe:
    if value.get("format", FORMAT) != FORMAT:
        raise LabError(
            f"format {shown(value['format'])} is not one that this version reads: expected {FORMAT}, or a newer lmlab"
        )
    changes: dict[str, Any] = {}
    for key, entry in value.items():
        if key in SECTIONS:
            if not isinstance(entry, dict):
                raise LabError(f"[{key}] must be a table of settings")
            changes.update({f"{key}.{name}": _typed(f"{key}.{name}", part) for name, part in entry.items()})
        elif key in TOP_LEVEL:
            changes[key] = _typed(key, entry)
        elif key not in ("format", "base", "claims", "derived"):
            raise LabError(
                foreign_name_hint(key)
                or f"unknown entry '{key}': {nearest(key, [*SECTIONS, *TOP_LEVEL, 'base', 'claims', 'derived'])}"
            )
    if "base" in value:
        return _on_base(_base(value["base"], base), changes, value)
    recipe = override(_of_named_kinds(value), changes)
    return dataclasses.replace(
        recipe, claims=_claims(value.get("claims", [])), derived=_derived(recipe, value.get("derived", []))
    )


def _base(name: Any, find: Base | None) -> Recipe:
    if find is None:
        raise LabError("base can't be named here: expected every setting of the recipe itself")
    if not isinstance(name, str) or not name:
        raise LabError(f"base can't be {shown(name)}: expected a recipe's name (lmlab recipes), or a .toml file's path")
    return find(name)


def _on_base(base: Recipe, changes: dict[str, Any], value: dict[str, Any]) -> Recipe:
    """Return `base` with the settings of a file that names it. The claims of `base` are kept if the science is unchanged."""
    recipe = with_settings(base, {"name": Recipe().name, "about": f"{base.name} with changes", **changes})
    claims = base.claims if recipe_hash(recipe) == recipe_hash(base) else ()
    return dataclasses.replace(
        recipe,
        claims=_claims(value["claims"]) if "claims" in value else claims,
        derived=tuple(dict.fromkeys((*recipe.derived, *_derived(recipe, value.get("derived", []))))),
    )


def _of_named_kinds(value: dict[str, Any]) -> Recipe:
    """Return the default recipe of the kinds that a file names, so that missing fields have the defaults of their kind."""
    recipe = Recipe()
    for section, kinds in KINDS.items():
        named = value.get(section)
        choice = kinds.get(str(named.get("kind", ""))) if isinstance(named, dict) else None
        if choice is not None:
            recipe = dataclasses.replace(recipe, **{section: choice()})
    return recipe


def _typed(name: str, value: Any) -> Any:
    """Return a TOML value for `override`, which would also parse text; refuse numbers in quotes."""
    if isinstance(value, list):
        return tuple(_typed(name, part) for part in value)
    if isinstance(value, str) and value != "none":
        stripped = value.strip()
        try:
            float(stripped)
        except ValueError:
            return value
        if name.partition(".")[2] not in FREE_TEXT and name not in TOP_LEVEL:
            raise LabError(f"{name} can't be the text {shown(value)}: expected it without quotes")
    return value


def _is_plain(value: Any, levels: int) -> bool:
    """Return whether a TOML value consists of text, numbers (integers of at most 64 bits) and booleans, nested at most `levels`
    deep.
    """
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    if isinstance(value, (list, dict)):
        entries = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_is_plain(entry, levels - 1) for entry in entries)
    return isinstance(value, (str, float))


def _derived(recipe: Recipe, value: Any) -> tuple[str, ...]:
    known = [name for name in dotted_names(recipe) if "." in name and name != PRESET and not name.endswith(".kind")]
    if not isinstance(value, list) or any(name not in known for name in value):
        raise LabError(
            f"derived can't be {shown(value)}: expected a list of this recipe's settings, such as schedule.warmup"
        )
    return tuple(dict.fromkeys(value))


def _claims(value: Any) -> tuple[Claim, ...]:
    if not isinstance(value, list):
        raise LabError("claims must be tables: write [[claims]] above each")
    return tuple(_claim(entry) for entry in value)


def _claim(value: Any) -> Claim:
    names = {entry.name for entry in dataclasses.fields(Claim)}
    needed = {"metric", "value", "source"}
    if not isinstance(value, dict) or not needed <= set(value) <= names:
        raise LabError(
            f"a claim has {', '.join(sorted(needed))} and perhaps {', '.join(sorted(names - needed))}, got {shown(value)}"
        )
    for name, entry in value.items():
        fits = isinstance(entry, CLAIM_TYPES[name]) and not isinstance(entry, bool)
        if not fits or (name == "step" and entry < 0) or (name == "value" and not abs(entry) < MOST_CLAIMED):
            raise LabError(f"a claim's {name} can't be {shown(entry)}")
    return Claim(**{**value, "value": float(value["value"])})


def _plain(value: Any) -> Any:
    if value is None:
        return "none"
    return list(value) if isinstance(value, tuple) else value
