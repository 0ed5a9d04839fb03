"""`lmlab data prepare|extend|show|check NAME`: build a data set, add text to it, describe it, look for what is wrong with it."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from lmlab import LabError
from lmlab.cli.arguments import only_settings, parse, split_overrides
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json, show_text
from lmlab.recipe import Recipe, is_recipe, load_recipe, override

if TYPE_CHECKING:
    from lmlab.data import Dataset
    from lmlab.data.progress import Progress

ACTIONS = {
    "prepare": "build the data set of a recipe, a catalogue corpus or a path, and describe it",
    "extend": "add text: lmlab data extend NAME PATH...; the tokens, splits and vocabulary that are there stay as they are",
    "show": "describe a prepared data set; without NAME: the catalogue and what is prepared",
    "check": "verify a data set and report duplicates, odd characters, boilerplate, likely secrets; without NAME: verify all",
}


@dataclass(frozen=True)
class Flags:
    """Prepare, show or check a data set. Any setting of the recipe's data works too: --data.tokenizer bytes."""

    name: tyro.conf.Positional[str] = ""
    """A recipe, a catalogue corpus, a file or folder, - for standard input, or the id of a prepared data set."""
    context: int | None = None
    """Count what cropping at so many tokens would lose (the recipe's context)."""
    plot: str = ""
    """Draw the document lengths into this PNG."""
    out: str = ""
    """Write the report of a check into this Markdown file."""
    json: bool = False
    """Print JSON and nothing else."""


@dataclass(frozen=True)
class Extend:
    """Add text to a prepared data set. What is there stays in its place: a new data set begins with the same tokens, in the same
    splits, and goes on with the documents that are new. --data.column and --data.separator say how the new text is read, where
    that differs from the old.
    """

    name: tyro.conf.Positional[str] = ""
    """What is extended: the id or folder of a data set, or the recipe, corpus or path that it was prepared from."""
    paths: tyro.conf.Positional[tuple[str, ...]] = ()
    """Files, folders or catalogue corpora with more text; documents that are there already are passed over."""
    skip_unknown: bool = False
    """Leave documents out that have symbols the tokenizer doesn't know, rather than refuse the text."""
    context: int | None = None
    """Count what cropping at so many tokens would lose."""
    json: bool = False
    """Print JSON and nothing else."""


def run(arguments: list[str]) -> int:
    """The verb; returns its exit status."""
    action = arguments[0] if arguments else ""
    if action in ("", "-h", "--help"):
        show_text(_help())
        return 0 if action else 2
    if action not in ACTIONS:
        close = difflib.get_close_matches(action, ACTIONS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(ACTIONS)}"
        raise UsageError(f"there is no 'lmlab data {action}': {hint}")
    words, settings = split_overrides(arguments[1:])
    prog = f"lmlab data {action}"
    only_settings(settings, ("data",), prog)
    if action == "extend":
        return _extend(parse(Extend, words, prog), settings)
    flags = parse(Flags, words, prog)
    _require_context(flags.context)
    if flags.out and action != "check":
        raise UsageError(f"{prog} has no --out: it is for lmlab data check")
    if action == "prepare":
        return _prepare(flags, settings)
    if not flags.name and settings:
        raise UsageError(f"{prog} needs a NAME for settings of its data")
    return _show(flags, settings) if action == "show" else _check(flags, settings)


def _require_context(context: int | None) -> None:
    if context is not None and context < 1:
        raise UsageError(f"--context can't be {context}: expected at least 1")


def _prepare(flags: Flags, settings: dict[str, Any]) -> int:
    from lmlab.cli.progress import progress_for
    from lmlab.data import prepare

    if not flags.name:
        raise UsageError("lmlab data prepare needs a NAME: a recipe, a catalogue corpus, a file or folder, or -")
    recipe = _recipe(flags.name, settings)
    dataset = prepare(recipe.data, progress=progress_for(quiet=flags.json))
    return _describe(dataset, flags.context or recipe.model.context, recipe.data.stride, flags.json, flags.plot)


def _extend(flags: Extend, settings: dict[str, Any]) -> int:
    from lmlab.cli.progress import progress_for
    from lmlab.data import extend, open_dataset
    from lmlab.data.dataset import is_reference

    _require_context(flags.context)
    if not flags.name or not flags.paths:
        raise UsageError("lmlab data extend needs a NAME and a PATH: what is extended, and the text that is added")
    own = {key: value for key, value in settings.items() if key not in ("data.column", "data.separator")}
    if own and is_reference(flags.name):
        raise UsageError(
            f"lmlab data extend keeps the settings of data set {flags.name}: leave out --{next(iter(own))}"
        )
    old, recipe = (open_dataset(flags.name), Recipe()) if is_reference(flags.name) else _find(flags.name, settings)
    progress = progress_for(quiet=flags.json)
    how = (settings.get("data.column"), settings.get("data.separator"), flags.skip_unknown)
    found = extend(old, flags.paths, *how, progress=progress)
    if not flags.json:
        show(found.line())
        if found.added:
            words = f"lmlab train --from RUN --data.corpus {found.dataset.id}"
            if found.dataset.begin_of_text is None:
                show(f"to train a run further on what is new: {words} --data.fresh")
            else:
                show(f"to train a run further on old and new documents: {words}")
        show("")
    more = {"added": found.added, "there_already": found.there_already, "unknown": found.unknown}
    return _describe(found.dataset, flags.context or recipe.model.context, recipe.data.stride, flags.json, more=more)


def _show(flags: Flags, settings: dict[str, Any]) -> int:
    if not flags.name:
        return _list(flags)
    dataset, recipe = _find(flags.name, settings)
    return _describe(dataset, flags.context or recipe.model.context, recipe.data.stride, flags.json, flags.plot)


def _check(flags: Flags, settings: dict[str, Any]) -> int:
    if not flags.name:
        return _verify_all(flags)
    from lmlab.cli.progress import progress_for
    from lmlab.data.hygiene import checked
    from lmlab.data.hygiene.report import lines, markdown
    from lmlab.files import write_text

    progress = progress_for(quiet=flags.json)
    dataset = _find_or_prepare(flags.name, settings, progress)
    dataset.verify()
    value = checked(dataset, progress)
    if flags.out:
        write_text(Path(flags.out), markdown(value))
    if flags.json:
        show_json({**value, "folder": str(dataset.folder), "report": flags.out or None})
        return 0
    show(*lines(value), "", "every file of it has its SHA-256", flags.out or dataset.folder)
    return 0


def _verify_all(flags: Flags) -> int:
    from lmlab.data import list_datasets

    if flags.out:
        raise UsageError("lmlab data check needs a NAME for --out")
    chosen = list_datasets()
    for dataset in chosen:
        dataset.verify()
    if flags.json:
        show_json({"checked": [{"id": dataset.id, "folder": str(dataset.folder)} for dataset in chosen]})
        return 0
    for dataset in chosen:
        show(f"{dataset.name} {dataset.id}: every file has its SHA-256", dataset.folder)
    return 0


def _recipe(name: str, settings: dict[str, Any]) -> Recipe:
    """The recipe of that name, or the default one for that corpus, with the settings."""
    base = load_recipe(name) if is_recipe(name) else override(Recipe(), {"data.corpus": name})
    return override(base, settings)


def _find(name: str, settings: dict[str, Any]) -> tuple[Dataset, Recipe]:
    """A prepared data set: by its id, its own folder, or what it was prepared from."""
    from lmlab.data import open_dataset, prepared

    if not settings and _is_dataset(name):
        return open_dataset(name), Recipe()
    recipe = _recipe(name, settings)
    dataset = prepared(recipe.data)
    if dataset is None:
        words = "".join(f" --{key} {value}" for key, value in settings.items())
        raise LabError(
            f"{name} is not prepared with these settings (what a run used is found by the id that its training printed): lmlab "
            f"data prepare {name}{words}"
        )
    return dataset, recipe


def _find_or_prepare(name: str, settings: dict[str, Any], progress: Progress) -> Dataset:
    """A data set by its id or folder, or that of a recipe or corpus, which is prepared where it isn't yet."""
    from lmlab.data import open_dataset, prepare

    if not settings and _is_dataset(name):
        return open_dataset(name)
    return prepare(_recipe(name, settings).data, progress=progress)


def _is_dataset(name: str) -> bool:
    from lmlab.data.manifest import ID, NAME

    return ID.fullmatch(name) is not None or os.path.exists(Path(name) / NAME)


def _describe(
    dataset: Dataset,
    context: int,
    stride: int | None,
    json_output: bool,
    plot: str = "",
    more: dict[str, Any] | None = None,
) -> int:
    """Print all that is worth knowing of a data set, and `more` beside it in JSON."""
    from lmlab.data.describe import describe, lines

    description = describe(dataset, context, stride)
    picture = None
    if plot:
        from lmlab.data.plot import plot_lengths

        picture = plot_lengths(description, Path(plot))
    if json_output:
        named = {"plot": None if picture is None else str(picture)}
        show_json({**description.to_json(), **named, **(more or {})})
        return 0
    show(*lines(description), "")
    if picture is not None:
        show(picture)
    show(dataset.folder)
    return 0


def _list(flags: Flags) -> int:
    from lmlab.data import CATALOGUE, list_datasets
    from lmlab.files import cache_folder

    found = list_datasets()
    if flags.json:
        rows = [{"id": one.id, "name": one.name, "folder": str(one.folder), "splits": _sizes(one)} for one in found]
        show_json({"catalogue": [entry.to_json() for entry in CATALOGUE.values()], "prepared": rows})
        return 0
    from lmlab.training.table import table

    sizes = [sum(file.bytes for file in entry.files) / 1e6 for entry in CATALOGUE.values()]
    corpora = [
        (entry.name, entry.about, entry.licence, f"{size:,.1f}" if size else "")
        for entry, size in zip(CATALOGUE.values(), sizes, strict=True)
    ]
    headings = ("corpus", "description", "licence", "MB")
    show("catalogue", table(headings, corpora, words=("corpus",), wraps=("description", "licence")), "")
    prepared = [
        (
            one.name,
            one.id,
            f"{one.facts['tokenizer']['name']} {one.vocabulary_size:,}",
            ", ".join(f"{split} {count:,}" for split, count in _sizes(one).items()),
        )
        for one in found
    ]
    headings = ("data set", "id", "tokenizer", "tokens")
    show(
        "prepared",
        table(headings, prepared, words=("data set", "id", "tokenizer"), wraps=("tokens",)) if prepared else "none yet",
    )
    show(cache_folder() / "datasets")
    return 0


def _sizes(dataset: Dataset) -> dict[str, int]:
    return {split: len(dataset.tokens(split)) for split in dataset.splits}


def _help() -> str:
    lines = [f"  {action:<8} {about}" for action, about in ACTIONS.items()]
    return "\n".join(
        [
            "usage: lmlab data prepare|extend|show|check NAME [--json] [--data.SETTING VALUE] "
            "[--plot FILE.png] [--context N] [--out FILE.md]",
            "",
            *lines,
        ]
    )
