"""`lmlab data prepare|show|check NAME`: build a data set, describe it, look for what is wrong with it."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from lmlab import LabError
from lmlab.cli.arguments import only_settings, parse, split_overrides
from lmlab.cli.errors import UsageError
from lmlab.recipe import Recipe, is_recipe, load_recipe, override

if TYPE_CHECKING:
    from lmlab.data import Dataset
    from lmlab.data.progress import Progress

ACTIONS = {
    "prepare": "build the data set of a recipe, a catalogue corpus or a path, and describe it",
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


def run(arguments: list[str]) -> int:
    """The verb; returns its exit status."""
    action = arguments[0] if arguments else ""
    if action in ("", "-h", "--help"):
        print(_help())
        return 0 if action else 2
    if action not in ACTIONS:
        close = difflib.get_close_matches(action, ACTIONS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(ACTIONS)}"
        raise UsageError(f"there is no 'lmlab data {action}': {hint}")
    words, settings = split_overrides(arguments[1:])
    prog = f"lmlab data {action}"
    flags = parse(Flags, words, prog)
    only_settings(settings, ("data",), prog)
    if flags.context is not None and flags.context < 1:
        raise UsageError(f"--context can't be {flags.context}: expected at least 1")
    if flags.out and action != "check":
        raise UsageError(f"{prog} has no --out: it is for lmlab data check")
    if action == "prepare":
        return _prepare(flags, settings)
    if not flags.name and settings:
        raise UsageError(f"{prog} needs a NAME for settings of its data")
    return _show(flags, settings) if action == "show" else _check(flags, settings)


def _prepare(flags: Flags, settings: dict[str, Any]) -> int:
    from lmlab.cli.progress import progress_for
    from lmlab.data import prepare

    if not flags.name:
        raise UsageError("lmlab data prepare needs a NAME: a recipe, a catalogue corpus, a file or folder, or -")
    recipe = _recipe(flags.name, settings)
    progress = progress_for(quiet=flags.json)
    try:
        dataset = prepare(recipe.data, progress=progress)
    finally:
        if not flags.json:
            progress.close()  # type: ignore[union-attr]
    return _describe(dataset, flags, recipe)


def _show(flags: Flags, settings: dict[str, Any]) -> int:
    if not flags.name:
        return _list(flags)
    dataset, recipe = _find(flags.name, settings)
    return _describe(dataset, flags, recipe)


def _check(flags: Flags, settings: dict[str, Any]) -> int:
    if not flags.name:
        return _verify_all(flags)
    from lmlab.cli.progress import progress_for
    from lmlab.data.hygiene import checked
    from lmlab.data.hygiene.report import lines, markdown
    from lmlab.files import write_text

    progress = progress_for(quiet=flags.json)
    try:
        dataset = _find_or_prepare(flags.name, settings, progress)
        dataset.verify()
        value = checked(dataset, progress)
    finally:
        if not flags.json:
            progress.close()  # type: ignore[union-attr]
    if flags.out:
        write_text(Path(flags.out), markdown(value))
    if flags.json:
        print(json.dumps({**value, "folder": str(dataset.folder), "report": flags.out or None}, indent=2))
        return 0
    for line in lines(value):
        print(line)
    print("\nevery file of it has its SHA-256")
    print(flags.out or dataset.folder)
    return 0


def _verify_all(flags: Flags) -> int:
    from lmlab.data import list_datasets

    if flags.out:
        raise UsageError("lmlab data check needs a NAME for --out")
    chosen = list_datasets()
    for dataset in chosen:
        dataset.verify()
    if flags.json:
        print(
            json.dumps({"checked": [{"id": dataset.id, "folder": str(dataset.folder)} for dataset in chosen]}, indent=2)
        )
        return 0
    for dataset in chosen:
        print(f"{dataset.name} {dataset.id}: every file has its SHA-256")
        print(dataset.folder)
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
        raise LabError(f"{name} is not prepared with these settings: lmlab data prepare {name}{words}")
    return dataset, recipe


def _find_or_prepare(name: str, settings: dict[str, Any], progress: Progress) -> Dataset:
    """A data set by its id or folder, or that of a recipe or corpus, which is prepared where it isn't yet."""
    from lmlab.data import open_dataset, prepare

    if not settings and _is_dataset(name):
        return open_dataset(name)
    return prepare(_recipe(name, settings).data, progress=progress)


def _is_dataset(name: str) -> bool:
    from lmlab.data.manifest import ID, NAME

    return ID.fullmatch(name) is not None or (Path(name) / NAME).exists()


def _describe(dataset: Dataset, flags: Flags, recipe: Recipe) -> int:
    from lmlab.data.describe import describe, lines

    description = describe(dataset, flags.context or recipe.model.context)
    picture = None
    if flags.plot:
        from lmlab.data.plot import plot_lengths

        picture = plot_lengths(description, Path(flags.plot))
    if flags.json:
        print(json.dumps({**description.to_json(), "plot": None if picture is None else str(picture)}, indent=2))
        return 0
    for line in lines(description):
        print(line)
    print()
    if picture is not None:
        print(picture)
    print(dataset.folder)
    return 0


def _list(flags: Flags) -> int:
    from lmlab.data import CATALOGUE, list_datasets
    from lmlab.files import cache_folder

    found = list_datasets()
    if flags.json:
        rows = [{"id": one.id, "name": one.name, "folder": str(one.folder), "splits": _sizes(one)} for one in found]
        print(json.dumps({"catalogue": [entry.to_json() for entry in CATALOGUE.values()], "prepared": rows}, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(
        "corpus", "what it is", "licence", "MB", title="catalogue", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for entry in CATALOGUE.values():
        size = sum(file.bytes for file in entry.files) / 1e6
        table.add_row(entry.name, entry.about, entry.licence, f"{size:,.1f}" if size else "")
    console.print(table)
    print()
    table = Table(
        "data set", "id", "tokenizer", "tokens", title="prepared", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for one in found:
        tokenizer = f"{one.facts['tokenizer']['name']} {one.vocabulary_size:,}"
        table.add_row(
            one.name, one.id, tokenizer, ", ".join(f"{split} {count:,}" for split, count in _sizes(one).items())
        )
    console.print(table)
    print(cache_folder() / "datasets")
    return 0


def _sizes(dataset: Dataset) -> dict[str, int]:
    return {split: len(dataset.tokens(split)) for split in dataset.splits}


def _help() -> str:
    lines = [f"  {action:<8} {about}" for action, about in ACTIONS.items()]
    return "\n".join(
        [
            "usage: lmlab data prepare|show|check NAME [--json] [--data.SETTING VALUE] "
            "[--plot FILE.png] [--context N] [--out FILE.md]",
            "",
            *lines,
        ]
    )
