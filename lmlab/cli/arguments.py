"""Parse command-line words into a verb's flags and a recipe's overrides: tyro parses and prints the help, errors are one line.

A verb describes its flags as a frozen dataclass; words with a dot (`--train.steps 500`) belong to the recipe and are passed to
`lmlab.recipe.override` unchanged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import os
import re
import typing
from pathlib import Path
from typing import Any, TypeVar

from lmlab import LabError, printable
from lmlab.cli.errors import UsageError
from lmlab.files import place_for_folder
from lmlab.recipe import Recipe, dotted_names, is_recipe, load_recipe, override, own_name
from lmlab.recipe.experiment import SECTIONS
from lmlab.recipe.override import TRUTH, is_switch

Flags = TypeVar("Flags")
KEPT_WHEN_REPEATED = ("evaluate.prompts",)


def runs_folder(flag: str) -> Path:
    """Return the folder of runs: --runs, else LMLAB_RUNS, else ./runs; LabError where that is a file, or can't be a folder's
    name."""
    return place_for_folder(Path(flag or os.environ.get("LMLAB_RUNS") or "runs"), "--runs" if flag else "LMLAB_RUNS")


def parse(flags: type[Flags], arguments: list[str], prog: str, recipe: Recipe | None = None) -> Flags:
    """Parse `arguments` to an instance of `flags`; UsageError in one line where they are invalid.

    `recipe` is for verbs that take recipe settings: --help then lists those too, with that recipe's values.
    """
    import tyro

    if any(word in ("-h", "--help") for word in arguments):
        described = _with_joined_help(flags) if recipe is None else _with_settings(flags, recipe)
        tyro.cli(described, args=["--help"], prog=prog, config=(tyro.conf.AvoidSubcommands, tyro.conf.UseAppendAction))
    _refuse_unknown(flags, arguments, prog)
    _refuse_empty(flags, arguments)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(complaint):
            return tyro.cli(
                flags, args=arguments, prog=prog, config=(tyro.conf.AvoidSubcommands, tyro.conf.UseAppendAction)
            )
    except SystemExit:
        raise UsageError(f"{prog}: {_one_line(complaint.getvalue())} (see {prog} --help)") from None


def split_overrides(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the words that are no recipe setting, and the settings as {dotted name: text}: the last where one is repeated.

    All prompts are kept, as a tuple. A boolean setting needs no value: --data.fresh is true.
    """
    rest: list[str] = []
    found: dict[str, list[str]] = {}
    words = iter(range(len(arguments)))
    for index in words:
        word = arguments[index]
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or "." not in name:
            rest.append(word)
            continue
        switch = not equals and is_switch(name.replace("-", "_"))
        if switch and (index + 1 >= len(arguments) or arguments[index + 1].lower() not in TRUTH):
            value = "true"
        elif not equals:
            switched = name.replace(".no-", ".", 1)
            if switched != name and is_switch(switched.replace("-", "_")):
                raise UsageError(f"there is no --{name}: write --{switched} no")
            if index + 1 >= len(arguments) or arguments[index + 1].startswith("--"):
                raise UsageError(f"--{name} needs a value: write --{name} VALUE")
            value = arguments[next(words)]
        found.setdefault(name.replace("-", "_"), []).append(value)
    return rest, {name: tuple(values) if name in KEPT_WHEN_REPEATED else values[-1] for name, values in found.items()}


def with_tables(overrides: dict[str, Any], tables: bool) -> dict[str, Any]:
    """Return `overrides`, without n-gram tables for --no-tables; UsageError where they set some too."""
    if tables:
        return overrides
    if overrides.get("model.ngrams", "none") != "none":
        raise UsageError(
            f"--no-tables and --model.ngrams {overrides['model.ngrams']} exclude each other: give one of them"
        )
    return {**overrides, "model.ngrams": "none"}


def recipe_shown(words: list[str], overrides: dict[str, Any]) -> Recipe:
    """Return the recipe whose settings --help lists: the one that a word names, else the default, with the requested kinds."""
    recipe = Recipe()
    with contextlib.suppress(LabError):
        for word in words:
            if not word.startswith("-") and is_recipe(word):
                recipe = load_recipe(word)
                break
        recipe = override(recipe, {name: value for name, value in overrides.items() if name.endswith(".kind")})
    return recipe


def with_default(arguments: list[str], flag: str, value: str) -> list[str]:
    """Insert `value` after `flag` where no number follows: for a flag whose value is optional."""
    found = []
    for place, word in enumerate(arguments, 1):
        following = arguments[place] if place < len(arguments) else ""
        found.append(word)
        if word == flag and not re.fullmatch(r"\d+(\.\d*)?|\.\d+", following):
            found.append(value)
    return found


def only_settings(overrides: dict[str, Any], sections: tuple[str, ...], prog: str) -> dict[str, Any]:
    """Return `overrides`; UsageError where a name is outside the sections that a verb takes."""
    for name in overrides:
        if name.partition(".")[0] not in sections:
            raise UsageError(f"{prog} takes settings of {', '.join(sections)} only, got --{name}")
    return overrides


def flag_names(flags: type) -> list[str]:
    """Return every --name of a verb's dataclass."""
    import tyro

    positional = typing.get_args(tyro.conf.Positional[str])[1]
    names = ["--help"]
    for field, hint in typing.get_type_hints(flags, include_extras=True).items():
        if positional in getattr(hint, "__metadata__", ()):
            continue
        # `from` can't be a field's name: tyro.conf.arg renames one.
        given = [extra.name for extra in getattr(hint, "__metadata__", ()) if getattr(extra, "name", None)]
        name = (given[0] if given else field).replace("_", "-")
        names.append(f"--{name}")
        names += [
            alias for extra in getattr(hint, "__metadata__", ()) for alias in getattr(extra, "aliases", None) or ()
        ]
        if hint is bool:
            names.append(f"--no-{name}")
    return names


def _refuse_unknown(flags: type, arguments: list[str], prog: str) -> None:
    known = flag_names(flags)
    for word in arguments:
        name = word.partition("=")[0].replace("_", "-")
        if not word.startswith("--") or word == "--" or name in known:
            continue
        ours = "run" if name == "--name" else own_name(name)
        if ours and ours.startswith("the verb"):
            raise UsageError(f"{word.partition('=')[0]} is not a flag, but {ours}")
        if ours and (f"--{ours.split(' ')[0]}" in known or "." in ours):
            raise UsageError(f"{word.partition('=')[0]} is called --{ours} here")
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        if close:
            raise UsageError(f"{prog} has no {word.partition('=')[0]}: did you mean {close[0]}?")
        setting = _setting(name)
        if setting:
            raise UsageError(f"{prog} has no {word.partition('=')[0]}: the recipe's setting is --{setting}")
        raise UsageError(f"{prog} has no {word.partition('=')[0]}: expected one of {', '.join(known)}")


def _refuse_empty(flags: type, arguments: list[str]) -> None:
    """Raise UsageError where a flag has an empty text, such as --run "$NAME" with an unset variable."""
    texts = {f"--{entry.name.replace('_', '-')}" for entry in dataclasses.fields(flags) if entry.default == ""}
    texts |= {name for name in flag_names(flags) if name == "--from"}
    for word, following in zip(arguments, [*arguments[1:], "-"], strict=False):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") in texts and not (value if equals else following):
            raise UsageError(f"{name} is empty: give it a value, or leave it out")


def _setting(name: str) -> str:
    """Return the recipe's setting that ends in this name; empty where there is none."""
    leaf = name.removeprefix("--").replace("-", "_")
    fits = [setting for setting in dotted_names(Recipe()) if "." in setting and setting.rpartition(".")[2] == leaf]
    fits.sort(key=lambda setting: not setting.startswith("train."))
    return fits[0] if fits else ""


def _with_settings(flags: type, recipe: Recipe) -> type:
    """Return a dataclass with the verb's flags and, below, the recipe's sections with their values as defaults."""
    import tyro

    sections = {name: _section_shown(getattr(recipe, name)) for name in SECTIONS}
    # A boolean setting takes a value, too: --data.fresh no, and no --data.no-fresh.
    settings = [
        (name, tyro.conf.FlagConversionOff[type(shown)], dataclasses.field(default=shown))  # type: ignore[misc]
        for name, shown in sections.items()
    ]
    made = dataclasses.make_dataclass(flags.__name__, settings, bases=(_with_joined_help(flags),), frozen=True)
    made.__doc__ = flags.__doc__
    return made


def _with_joined_help(described: type) -> type:
    """Return a dataclass like `described` whose fields' docstrings are one line each: tyro keeps the source's line breaks."""
    import docstring_parser
    import tyro

    hints = typing.get_type_hints(described, include_extras=True)
    texts = {
        entry.arg_name: " ".join((entry.description or "").split())
        for base in reversed(described.__mro__[:-1])  # parse_from_object finds only what a class itself declares
        for entry in docstring_parser.parse_from_object(base).params
    }
    fields = [
        (
            entry.name,
            typing.Annotated[hints[entry.name], tyro.conf.arg(help=texts.get(entry.name))],
            dataclasses.field(default=entry.default, default_factory=entry.default_factory, kw_only=entry.kw_only),
        )
        for entry in dataclasses.fields(described)
    ]
    made = dataclasses.make_dataclass(described.__name__, fields, frozen=True)
    made.__doc__ = described.__doc__
    return made


def _section_shown(section: Any) -> Any:
    """Return a section of a recipe for --help, with unsafe characters escaped: the recipe may be untrusted, and tyro prints values
    as is."""
    values = {entry.name: getattr(_printable_section(section), entry.name) for entry in dataclasses.fields(section)}
    return _with_joined_help(type(section))(**values)


def _printable_section(section: Any) -> Any:
    changed: dict[str, Any] = {}
    for entry in dataclasses.fields(section):
        value = getattr(section, entry.name)
        if isinstance(value, str):
            changed[entry.name] = printable(value)
        elif isinstance(value, tuple):
            changed[entry.name] = tuple(printable(one) if isinstance(one, str) else one for one in value)
    return dataclasses.replace(section, **changed)


def _one_line(text: str) -> str:
    """Convert tyro's boxed error to one line of text."""
    line = " ".join(re.sub(r"[╭╮╰╯│─]|-{3,}", " ", text).split())
    for cut in ("For full helptext", "usage:"):
        line = line.partition(cut)[0]
    number = re.search(
        r"Error parsing (--\S+): no type matching \S*(?:FLOAT|INT)\S* could be instantiated from \['(.*?)'\]", line
    )
    if number:
        return f"{number.group(1)} is {number.group(2)!r}: expected a number"
    literal = re.search(r"Error parsing (--\S+): invalid literal for int\(\) with base 10: '(.*?)'", line)
    if literal:
        return f"{literal.group(1)} is {literal.group(2)!r}: expected a whole number, such as 200"
    missing = re.search(r"Missing from .*?: (.*)", line)
    if missing:
        words = missing.group(1).replace("(required)", "").strip()
        positional = re.fullmatch(r"[A-Z]+ ([A-Z].*?)\.?", words)
        if positional:
            said = positional.group(1)
            return f"expected {said if said[1:2].isupper() else said[:1].lower() + said[1:]}"
        return f"{words} is missing"
    choice = re.search(r"invalid choice '(.*?)' for argument '(--\S+)'\. Expected one of \((.*?)\)", line)
    if choice:
        known = [word for word in re.findall(r"'(.*?)'", choice.group(3)) if word]
        return f"{choice.group(2)} can't be {choice.group(1)!r}: expected one of {', '.join(known)}"
    for title in (
        "Parsing error",
        "Missing argument",
        "Unrecognized options Unrecognized options:",
        "Unrecognized options",
    ):
        if line.startswith(title):
            line = ("unexpected" if title.startswith("Unrec") else "") + line.removeprefix(title)
    return line.strip() or "the arguments don't fit"
