"""The definition of a chain: a TOML file with base models, tunings of each, and how the answers are compared.

format = 1
name = "assistant"
[[bases]]
name = "small"
recipe = "base-small"                # a recipe's name or file; or run = "RUN@STEP", a model that exists
settings = { data.corpus = "shard.parquet" }
[[tunings]]                          # of each base
name = "answers"
data = "instruction-data.json"
recipe = "instruct-1100"             # empty: the base's optimizer, as lmlab instruct does without --recipe
settings = { data.targets = "response" }
[judge]
data = "instruction-data.json"
part = "test"
address = "http://127.0.0.1:11434/v1"    # with model and method; left out: metrics without a judge alone
bases = true                         # the bases answer too
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from lmlab import LabError
from lmlab.judge.prompting import Method
from lmlab.judge.questions import Part
from lmlab.recipe.override import require_setting
from lmlab.recipe.text import parse_toml, toml_text
from lmlab.runs.names import is_run_name
from lmlab.study.grid.definition import flattened, require_known, table, whole, word

FORMAT = 1
LONGEST_NAME = 40
MOST_QUESTIONS = 1 << 20
LONGEST_ANSWER = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base model: a training, or a run that exists."""

    name: str
    recipe: str = ""
    run: str = ""
    """RUN or RUN@STEP; empty: it is trained from `recipe`."""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A tuning on conversations, of each base."""

    name: str
    data: str
    recipe: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How answers are compared: see `lmlab.judge.judging.AskedJudging`."""

    data: str
    part: Part = "all"
    items: int | None = None
    tokens: int = 256
    bases: bool = False
    """Whether the bases answer too, with the template of the first tuning."""
    address: str = ""
    model: str = ""
    method: Method = "score"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A chain before anything is trained."""

    name: str
    about: str = ""
    bases: tuple[Base, ...]
    tunings: tuple[Tuning, ...]
    judge: Comparison

    def run_of(self, base: Base, tuning: Tuning | None = None) -> str:
        """Return the name of the run that this chain trains for a base, or for a tuning of it."""
        return "-".join([self.name, base.name, *([] if tuning is None else [tuning.name])])


def load_chain(path: Path) -> Definition:
    """Return the chain in a file; LabError, which begins with the file, where it isn't valid."""
    text = toml_text(path, "a chain", "expected a chain's .toml file")
    try:
        return _definition(parse_toml(text, str(path)), path.stem)
    except LabError as error:
        said = str(error)
        raise LabError(said if said.startswith(str(path)) else f"{path}: {said}") from None


def _definition(value: Mapping[str, Any], stem: str) -> Definition:
    require_known(value, ("format", "name", "about", "bases", "tunings", "judge"))
    if value.get("format", FORMAT) != FORMAT:
        raise LabError(f"format {str(value['format'])[:20]} is not one that this version reads: expected {FORMAT}")
    bases = tuple(_base(entry) for entry in _list(value, "bases", "a base model"))
    tunings = tuple(_tuning(entry) for entry in _list(value, "tunings", "a tuning"))
    for kind, names in (("bases", [one.name for one in bases]), ("tunings", [one.name for one in tunings])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise LabError(f"two {kind} are named {twice[0]}: give each a name of its own")
    if "judge" not in value:
        raise LabError("a chain compares answers: write [judge] with data, the questions and their reference answers")
    return Definition(
        name=_name(value, stem),
        about=word(value, "about", ""),
        bases=bases,
        tunings=tunings,
        judge=_comparison(table(value, "judge")),
    )


def _base(value: Mapping[str, Any]) -> Base:
    require_known(value, ("name", "recipe", "run", "settings"))
    name = _name(value)
    if ("recipe" in value) == ("run" in value):
        raise LabError(f"the base {name} needs either recipe, to train it, or run, a model that exists")
    if "run" in value and "settings" in value:
        raise LabError(
            f"the base {name} is the run {word(value, 'run')[:60]}, which has its settings: leave settings out"
        )
    return Base(name=name, recipe=word(value, "recipe", ""), run=word(value, "run", ""), settings=_settings(value))


def _tuning(value: Mapping[str, Any]) -> Tuning:
    require_known(value, ("name", "data", "recipe", "settings"))
    return Tuning(
        name=_name(value), data=word(value, "data"), recipe=word(value, "recipe", ""), settings=_settings(value)
    )


def _comparison(value: Mapping[str, Any]) -> Comparison:
    require_known(value, ("data", "part", "items", "tokens", "bases", "address", "model", "method"))
    bases = value.get("bases", False)
    if not isinstance(bases, bool):
        raise LabError(f"judge.bases can't be {str(bases)[:40]}: expected true or false")
    address, model = word(value, "address", ""), word(value, "model", "")
    if bool(address) != bool(model):
        raise LabError("a judge needs judge.address and judge.model: give both, or neither for metrics without a judge")
    return Comparison(
        data=word(value, "data"),
        part=_one_of(value, "part", "all", get_args(Part)),
        items=whole(value, "items", 1, MOST_QUESTIONS) if "items" in value else None,
        tokens=whole(value, "tokens", 256, LONGEST_ANSWER),
        bases=bases,
        address=address,
        model=model,
        method=_one_of(value, "method", "score", get_args(Method)),
    )


def _one_of(value: Mapping[str, Any], name: str, default: str, names: tuple[str, ...]) -> Any:
    found = word(value, name, default)
    if found not in names:
        raise LabError(f"judge.{name} can't be {found[:40]!r}: expected {', '.join(names)}")
    return found


def _settings(value: Mapping[str, Any]) -> Mapping[str, Any]:
    found = flattened(table(value, "settings"))
    for name in found:
        require_setting(name)
    return found


def _list(value: Mapping[str, Any], name: str, what: str) -> list[Mapping[str, Any]]:
    found = value.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(entry, dict) for entry in found):
        raise LabError(f"a chain has {what} at least: write [[{name}]] with a name")
    return found


def _name(value: Mapping[str, Any], default: str | None = None) -> str:
    name = word(value, "name", default)
    if not is_run_name(name) or len(name) > LONGEST_NAME:
        raise LabError(f"name can't be {name[:60]!r}: expected up to {LONGEST_NAME} letters, digits, and . _ + -")
    return name
