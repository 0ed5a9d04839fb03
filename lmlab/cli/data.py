"""`lmlab data prepare|extend|show|check|rm NAME`: build data sets, add text to them, describe, check and remove them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tyro

from lmlab import LabError
from lmlab.cli.arguments import only_settings, parse, split_overrides
from lmlab.cli.data_rm import Remove, remove
from lmlab.cli.data_tables import print_list, print_several
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import show, show_json, show_text

if TYPE_CHECKING:
    from lmlab.data.dataset import Dataset
    from lmlab.recipe import Recipe

ACTIONS = {
    "prepare": "build the data set of a recipe, a catalogue corpus or a text, and describe it",
    "extend": "add text: lmlab data extend NAME PATH...; existing tokens, splits and vocabulary stay unchanged",
    "show": "describe a data set, or a text without one; without NAME: list the catalogue and all prepared data sets",
    "check": "verify a data set and report duplicates, odd characters, boilerplate, likely secrets; without NAME: verify all",
    "rm": "remove data sets, after a confirmation; the text itself stays",
}


@dataclass(frozen=True)
class Flags:
    """Prepare, show or check a data set. Any setting of the recipe's data works too: --data.tokenizer bytes."""

    name: tyro.conf.Positional[str] = ""
    """A recipe, a catalogue corpus, a file or folder, - for standard input; or the id or name of a prepared data set."""
    context: int | None = None
    """Count what cropping to this many tokens would lose (default: the recipe's context)."""
    plot: str = ""
    """Draw the document lengths into this file (.png, .svg or .pdf)."""
    out: str = ""
    """Write the report of a check into this Markdown file."""
    json: bool = False
    """Print only JSON."""


@dataclass(frozen=True)
class Extend:
    """Add text to a prepared data set. The new data set begins with the same tokens, in the same splits, followed by the new
    documents. --data.column and --data.separator set how the new text is read, where that differs from the old.
    """

    name: tyro.conf.Positional[str] = ""
    """The data set to extend: its id, folder or name, or the recipe, corpus or path that it was prepared from."""
    paths: tyro.conf.Positional[tuple[str, ...]] = ()
    """Files, folders or catalogue corpora with more text; documents that exist already are skipped."""
    skip_unknown: bool = False
    """Leave out documents with symbols that the tokenizer doesn't know, instead of rejecting the text."""
    context: int | None = None
    """Count what cropping to this many tokens would lose."""
    json: bool = False
    """Print only JSON."""


def run(arguments: list[str]) -> int:
    """Run the verb; return its exit status."""
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
    if action == "rm":
        return remove(parse(Remove, words, prog), settings)
    flags = parse(Flags, words, prog)
    _require_possible(flags, action, settings)
    if action == "prepare":
        return _prepare(flags, settings)
    return _show(flags, settings) if action == "show" else _check(flags, settings)


def _require_possible(flags: Flags, action: str, settings: dict[str, Any]) -> None:
    """Raise an error for flags that are invalid, or would be ignored, before anything is read."""
    prog = f"lmlab data {action}"
    _require_context(flags.context)
    if flags.out and action != "check":
        raise UsageError(f"{prog} has no --out: it is for lmlab data check")
    if not flags.name:
        given = [f"--{name}" for name in ("out", "plot", "context") if getattr(flags, name)] + [*settings][:1]
        if action == "prepare":
            raise UsageError("lmlab data prepare needs a NAME: a recipe, a catalogue corpus, a file or folder, or -")
        if given:
            raise UsageError(f"{prog} needs a NAME for {given[0]}")
    if flags.plot:
        from lmlab.data.plot import require_picture

        require_picture(Path(flags.plot))
    if flags.out and (Path(flags.out).is_dir() or not Path(flags.out).parent.is_dir()):
        raise LabError(f"--out {flags.out} can't be written: expected a file in an existing folder, such as report.md")


def _require_context(context: int | None) -> None:
    if context is not None and context < 1:
        raise UsageError(f"--context can't be {context}: expected at least 1")


def _prepare(flags: Flags, settings: dict[str, Any]) -> int:
    from lmlab.cli.closing import speaker
    from lmlab.cli.progress import progress_for
    from lmlab.experiment.data_sets import named_or_prepared

    progress = progress_for(quiet=flags.json)
    say = speaker(json_output=flags.json, quiet=False)
    dataset, recipe = named_or_prepared(flags.name, settings, say, progress)
    return _describe(dataset, _cut_of(flags.context, recipe), flags.json, flags.plot)


def _extend(flags: Extend, settings: dict[str, Any]) -> int:
    from lmlab.cli.progress import progress_for
    from lmlab.data.dataset import is_reference
    from lmlab.data.extending import extend
    from lmlab.experiment.data_sets import one_named

    _require_context(flags.context)
    if not flags.name or not flags.paths:
        raise UsageError("lmlab data extend needs a NAME and a PATH: the data set to extend, and the text to add")
    own = {key: value for key, value in settings.items() if key not in ("data.column", "data.separator")}
    if own and is_reference(flags.name):
        raise UsageError(
            f"lmlab data extend keeps the settings of data set {flags.name}: leave out --{next(iter(own))}"
        )
    progress = progress_for(quiet=flags.json)
    old, recipe = one_named(flags.name, {} if is_reference(flags.name) else settings, progress)
    how = (settings.get("data.column"), settings.get("data.separator"), flags.skip_unknown)
    found = extend(old, flags.paths, *how, progress=progress)
    if not flags.json:
        show(found.line())
        if found.added:
            words = f"lmlab train --from RUN --data.corpus {found.dataset.id}"
            if found.dataset.begin_of_text is None:
                show(f"to train a run further on the new text: {words} --data.fresh")
            else:
                show(f"to train a run further on old and new documents: {words}")
        show("")
    more = {"added": found.added, "there_already": found.there_already, "unknown": found.unknown}
    return _describe(found.dataset, _cut_of(flags.context, recipe), flags.json, more=more)


def _show(flags: Flags, settings: dict[str, Any]) -> int:
    if not flags.name:
        return print_list(flags.json)
    from lmlab.cli.progress import progress_for
    from lmlab.experiment.data_sets import datasets_named

    progress = progress_for(quiet=flags.json)
    named = datasets_named(flags.name, settings, progress)
    if not named.datasets:
        return _show_text(flags, settings, progress)
    if len(named.datasets) > 1:
        return print_several(flags.name, named.datasets, flags.json, flags.plot)
    if named.note and not flags.json:
        show(named.note)
    return _describe(named.datasets[0], _cut_of(flags.context, named.recipe), flags.json, flags.plot)


def _show_text(flags: Flags, settings: dict[str, Any], progress: Any) -> int:
    """Describe a text from which no data set was prepared yet."""
    from lmlab.data.remembered import words_of
    from lmlab.experiment.asked import text_asked

    if flags.plot:
        raise LabError(
            f"{flags.name} is not prepared, so --plot has no lengths to draw: lmlab data prepare {flags.name}"
        )
    seen, choices = text_asked(flags.name, settings, progress)
    if flags.json:
        show_json({"prepared": False, "text": seen.to_json(), "notes": seen.notes(), "choices": list(choices)})
        return 0
    words = f"{flags.name}{words_of(settings)}"
    show(f"{flags.name} is not prepared{' with these settings' if settings else ''}")
    show(*(f"  {line}" for line in seen.lines_of_text()))
    show(*(f"  note        {note}" for note in seen.notes()))
    show("", f"lmlab train {words} would choose:", *(f"  {line}" for line in choices))
    show("", f"to prepare it: lmlab data prepare {words}")
    return 0


def _check(flags: Flags, settings: dict[str, Any]) -> int:
    if not flags.name:
        return _verify_all(flags)
    from lmlab.cli.closing import speaker
    from lmlab.cli.progress import progress_for
    from lmlab.data.hygiene.check import checked
    from lmlab.data.hygiene.report import lines, markdown
    from lmlab.experiment.data_sets import found_or_prepared
    from lmlab.files import write_text

    progress = progress_for(quiet=flags.json)
    dataset, recipe = found_or_prepared(flags.name, settings, speaker(json_output=flags.json, quiet=False), progress)
    dataset.verify()
    picture = _plot(dataset, _cut_of(flags.context, recipe), flags.plot)
    value = checked(dataset, progress)
    if flags.out:
        write_text(Path(flags.out), markdown(value))
    if flags.json:
        files = {"report": flags.out or None, "plot": picture}
        show_json({**value, "folder": str(dataset.folder), **files})
        return 0
    show(
        *lines(value), "", "every file of the data set has the SHA-256 of its manifest", *([picture] if picture else [])
    )
    show(flags.out or dataset.folder)
    return 0


class _Cut(NamedTuple):
    """How documents are cut where they are described."""

    context: int
    stride: int | None
    cropped: bool


def _cut_of(context: int | None, recipe: Recipe) -> _Cut:
    return _Cut(context or recipe.model.context, recipe.data.stride, recipe.data.windows == "cropped")


def _plot(dataset: Dataset, cut: _Cut, plot: str) -> str | None:
    """Draw the document lengths where requested; return the picture's path."""
    if not plot:
        return None
    from lmlab.data.describe import describe
    from lmlab.data.plot import plot_lengths

    return str(plot_lengths(describe(dataset, *cut), Path(plot)))


def _verify_all(flags: Flags) -> int:
    from lmlab.data.dataset import list_datasets

    chosen = list_datasets()
    for dataset in chosen:
        dataset.verify()
    if flags.json:
        show_json({"checked": [{"id": dataset.id, "folder": str(dataset.folder)} for dataset in chosen]})
        return 0
    for dataset in chosen:
        show(f"{dataset.name} {dataset.id}: every file has the SHA-256 of its manifest", dataset.folder)
    if not chosen:
        show("no data set is prepared here: lmlab data prepare NAME")
    return 0


def _describe(
    dataset: Dataset,
    cut: _Cut,
    json_output: bool,
    plot: str = "",
    more: dict[str, Any] | None = None,
) -> int:
    """Print the description of a data set, with `more` beside it in JSON."""
    from lmlab.data.describe import describe
    from lmlab.data.describe_lines import lines

    description = describe(dataset, *cut)
    picture = _plot(dataset, cut, plot)
    if json_output:
        show_json({**description.to_json(), "plot": picture, **(more or {})})
        return 0
    show(*lines(description), "", *([picture] if picture else []), dataset.folder)
    return 0


def _help() -> str:
    lines = [f"  {action:<8} {about}" for action, about in ACTIONS.items()]
    return "\n".join(
        [
            "usage: lmlab data prepare|extend|show|check|rm NAME [--json] [--data.SETTING VALUE] "
            "[--plot FILE.png] [--context N] [--out FILE.md]",
            "",
            *lines,
            "",
            "lmlab data prepare --help (or extend, show, check, rm) lists the arguments of each.",
        ]
    )
