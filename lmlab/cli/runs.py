"""`lmlab runs`: the table of runs and the page of one; renaming, removing, pruning and tagging them."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tyro

from lmlab import LabError
from lmlab.cli.arguments import parse, runs_folder, with_default
from lmlab.cli.asking import require_yes
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import laid_out, show, show_json
from lmlab.files import is_link
from lmlab.hardware.terminal import encoding_of
from lmlab.recipe.quantities import byte_count

if TYPE_CHECKING:
    from lmlab.runs import Run

ACTIONS = ("show", "rename", "rm", "prune", "tag", "note")
WATCH_SECONDS = "2"


@dataclass(frozen=True)
class Table:
    """The table of runs, the newest last; below it, runs that differ only in the seed as mean and standard deviation.

    lmlab runs show RUN shows one on a page; rename OLD NEW, rm RUN..., prune RUN... (or --all), tag RUN TAG... and note RUN NOTE
    change them.
    """

    sort: str = ""
    """Sort by this: name, status, corpus, parameters, tokens, epochs, loss, perplexity, accuracy, bits, time, step_seconds,
    epoch_seconds, speed, disk, device, seed, created, tag, or a setting."""
    descending: bool = False
    """Sort in descending order."""
    filter: tuple[str, ...] = ()
    """Only runs that satisfy this, such as status=finished, 'loss<1.6', corpus~shake, tag=x, model.layers=6; may be repeated."""
    columns: str = ""
    """The columns to show, such as loss,perplexity,accuracy,epochs,optim.lr: fields as for --sort; default: all that fit."""
    group: bool = False
    """Show runs that differ only in the seed as one line."""
    watch: float = 0.0
    """Redraw the table every so many seconds (without a number: 2), until Ctrl-C."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """The table as JSON on standard output."""


@dataclass(frozen=True)
class Show:
    """All of one run on a page: recipe, data, parent, machine, results, checkpoints, disk, events, and further commands."""

    run: tyro.conf.Positional[str]
    """The run, by name or folder."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""
    json: bool = False
    """The same as JSON on standard output."""


@dataclass(frozen=True)
class Rename:
    """Rename a run. Its id and contents stay; a run in training can't be renamed."""

    run: tyro.conf.Positional[str]
    """The run, by name or folder."""
    name: tyro.conf.Positional[str]
    """Its new name."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""


@dataclass(frozen=True)
class Remove:
    """Remove runs with their contents, after a confirmation. A run in training can't be removed."""

    run: tyro.conf.Positional[tuple[str, ...]] = ()
    """Runs by name, folder or tag:TAG."""
    yes: bool = False
    """Don't ask for confirmation."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""


@dataclass(frozen=True)
class Prune:
    """Free disk space: all checkpoints except the latest and the best keep only their weights.

    Prints how much each run frees and what can still be done with it, and asks for confirmation. A run can always be continued,
    evaluated, sampled and branched from; lmlab prove then has fewer steps to begin at.
    """

    run: tyro.conf.Positional[tuple[str, ...]] = ()
    """Runs by name, folder or tag:TAG."""
    all: bool = False
    """All runs of the folder; those in training are left unchanged."""
    checkpoints: bool = False
    """Remove all checkpoints except the best and the latest (and the first, where it can't be regenerated from its seed)."""
    yes: bool = False
    """Don't ask for confirmation."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""


@dataclass(frozen=True)
class Tag:
    """Add tags to a run, for lmlab runs --filter tag=TAG. Without TAG: print its tags."""

    run: tyro.conf.Positional[str]
    """The run, by name or folder."""
    tag: tyro.conf.Positional[tuple[str, ...]] = ()
    """Words of letters, digits, and . _ : / + -."""
    remove: tuple[str, ...] = ()
    """Remove this tag; may be repeated."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""


@dataclass(frozen=True)
class Note:
    """Keep a note with a run, replacing its current one ('' for none). Without NOTE: print it."""

    run: tyro.conf.Positional[str]
    """The run, by name or folder."""
    note: tyro.conf.Positional[tuple[str, ...]] = ()
    """The text, in quotes; several words are joined."""
    runs: str = ""
    """Where runs are; default: LMLAB_RUNS, or ./runs."""


def run(arguments: list[str]) -> int:
    """Run the verb; return its exit status."""
    action = arguments[0] if arguments else ""
    if action in ("", "-") or action.startswith("-"):
        return _table(parse(Table, with_default(arguments, "--watch", WATCH_SECONDS), "lmlab runs"))
    words, prog = arguments[1:], f"lmlab runs {action}"
    if action == "show":
        return _show(parse(Show, words, prog))
    if action == "rename":
        return _rename(parse(Rename, words, prog))
    if action == "rm":
        return _remove(parse(Remove, words, prog))
    if action == "prune":
        return _prune(parse(Prune, words, prog))
    if action == "tag":
        return _tag(parse(Tag, words, prog))
    if action == "note":
        return _note(parse(Note, words, prog))
    close = difflib.get_close_matches(action, ACTIONS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"expected {', '.join(ACTIONS)}, or only flags for the table"
    raise UsageError(f"there is no 'lmlab runs {action}': {hint}")


def _table(flags: Table) -> int:
    from lmlab.experiment.choosing import check_field, chosen, in_order_of, parse_condition
    from lmlab.experiment.listing import read_rows, seeds_of
    from lmlab.report.runs_table import fitting, runs_parts, total_line, watch

    root = runs_folder(flags.runs)
    if flags.descending and not flags.sort:
        raise UsageError("--descending needs --sort FIELD")
    if flags.watch < 0 or (flags.watch and flags.json):
        raise UsageError("--watch takes seconds, and excludes --json")
    try:
        conditions = [parse_condition(text) for text in flags.filter]
        fields = [check_field(name.strip()) for name in flags.columns.split(",") if name.strip()]
        if flags.sort:
            check_field(flags.sort)
    except LabError as error:
        raise UsageError(str(error)) from None

    def read() -> tuple[list[Any], list[Any], list[str]]:
        rows, problems = read_rows(root)
        rows = chosen(rows, conditions)
        return (in_order_of(rows, flags.sort, flags.descending) if flags.sort else rows), seeds_of(rows), problems

    if flags.watch:
        if not sys.stdout.isatty():
            raise UsageError("--watch needs a terminal: without it the table is printed once")

        def lines(width: int, height: int) -> list[str]:
            rows, groups, problems = read()
            parts = runs_parts(rows, groups, grouped=flags.group, fields=fields)
            table = [line for part in parts for line in laid_out(part, width, encoding_of(sys.stdout))]
            return fitting([*table, *problems], height, newest_last=not flags.sort)

        try:
            watch(lines, flags.watch)
        except KeyboardInterrupt:
            show("stopped watching", file=sys.stderr)
        return 0
    rows, groups, problems = read()
    if flags.json:
        value = {"runs": [row.to_json() for row in rows], "seeds": [group.to_json() for group in groups]}
        show_json({**value, "problems": problems})
        return 0
    if not rows and not problems:
        show(f"no runs in {root}" + (" satisfy this" if conditions else ""))
        return 0
    if rows:
        show(*runs_parts(rows, groups, grouped=flags.group, fields=fields), total_line(rows))
    for problem in problems:
        show(problem, file=sys.stderr)
    return 0


def _show(flags: Show) -> int:
    from lmlab.experiment.overview import overview_of
    from lmlab.report.run_page import page_lines

    found = overview_of(_whole(flags.run, flags.runs, "show"))
    if flags.json:
        show_json(found.to_json())
    else:
        show(*page_lines(found))
    return 0


def _rename(flags: Rename) -> int:
    from lmlab.runs import rename_run

    found = _whole(flags.run, flags.runs, "rename")
    old = found.name
    show(f"{old} is now {rename_run(found, flags.name).name}")
    return 0


def _remove(flags: Remove) -> int:
    from lmlab.checkpoint.pruning import occupied
    from lmlab.runs import is_locked, remove_leftovers, remove_run

    found = _all(flags.run, flags.runs, "rm")
    for one in found:
        if is_locked(one.folder):
            raise LabError(f"{one.name} is running: stop it first (Ctrl-C, or touch {one.folder / 'control' / 'stop'})")
    sizes = [0 if is_link(one.folder) else occupied(one.folder) for one in found]
    for one, size in zip(found, sizes, strict=True):
        link = "a link: what it points to stays" if is_link(one.folder) else byte_count(size)
        show(f"{one.folder.name}: {link}")
    require_yes(f"remove {_runs(found)}, {byte_count(sum(sizes))}?", flags.yes)
    for root in sorted({one.folder.parent for one in found}):
        remove_leftovers(root)
    for one in found:
        remove_run(one)
        show(f"{one.folder.name} is removed")
    return 0


def _prune(flags: Prune) -> int:
    from lmlab.experiment.pruning import plan_pruning
    from lmlab.runs import is_locked, list_runs

    if flags.all and flags.run:
        raise UsageError("lmlab runs prune takes either --all or the names of runs")
    found = list_runs(runs_folder(flags.runs)) if flags.all else _all(flags.run, flags.runs, "prune")
    plans = []
    for one in found:
        if flags.all and is_locked(one.folder):
            show(f"{one.name}: is running, and is left unchanged")
            continue
        plan = plan_pruning(one, flags.checkpoints)
        if plan.changes:
            plans.append(plan)
            freeing = plan.freeing
            what = [f"{_checkpoints(freeing.slimmed)} keep only weights"] if freeing.slimmed else []
            what += [f"{_checkpoints(freeing.removed)} are removed"] if freeing.removed else []
            show(f"{one.name}: frees {byte_count(freeing.bytes)}: {', '.join(what)}; then {plan.still()}")
    if not plans:
        show("nothing to prune: only the latest and the best checkpoints are complete; lmlab runs rm RUN removes a run")
        return 0
    require_yes(
        f"free {byte_count(sum(plan.freeing.bytes for plan in plans))} in {_runs([plan.run for plan in plans])}?",
        flags.yes,
    )
    show(f"freed {byte_count(sum(plan.carry_out() for plan in plans))}")
    return 0


def _tag(flags: Tag) -> int:
    from lmlab.runs import change_tags, read_tags

    found = _whole(flags.run, flags.runs, "tag")
    if flags.tag or flags.remove:
        tags = change_tags(found.folder, flags.tag, flags.remove)
    else:
        tags = read_tags(found.folder)
    show(f"{found.name}: {', '.join(tags) or 'no tags'}")
    return 0


def _note(flags: Note) -> int:
    from lmlab.runs import read_note, write_note

    found = _whole(flags.run, flags.runs, "note")
    note = write_note(found.folder, " ".join(flags.note)) if flags.note else read_note(found.folder)
    show(f"{found.name}: {note or 'no note'}")
    return 0


def _whole(reference: str, runs: str, action: str) -> Run:
    from lmlab.runs import open_run

    return _without_checkpoint(*open_run(reference, runs_folder(runs)), action)


def _all(references: tuple[str, ...], runs: str, action: str) -> list[Run]:
    if not references:
        raise UsageError(f"lmlab runs {action} needs a run: name one or several")
    from lmlab.runs import open_runs

    opened = open_runs(references, runs_folder(runs))
    found = {one.folder: one for one in (_without_checkpoint(*one, action) for one in opened)}
    return list(found.values())


def _without_checkpoint(found: Run, part: str | None, action: str) -> Run:
    if part is not None:
        raise UsageError(f"lmlab runs {action} takes a whole run: give {found.name} without @{part}")
    return found


def _runs(found: list[Run]) -> str:
    return "1 run" if len(found) == 1 else f"{len(found)} runs"


def _checkpoints(steps: tuple[int, ...]) -> str:
    return "1 checkpoint" if len(steps) == 1 else f"{len(steps)} checkpoints"
