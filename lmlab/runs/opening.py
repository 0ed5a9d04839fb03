"""Resolving what a person types to runs, and listing the runs in a folder.

NAME or FOLDER is one run; a bare name is first looked for in the folder of runs. tag:TAG is each run in that folder that has the
tag. Each of these may be followed by @best, @latest, @init or @STEP: that checkpoint of the run, or of each run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lmlab import LabError
from lmlab.runs.names import in_order, is_run_name, nearest, split_reference
from lmlab.runs.run import ORIGIN, RECIPE, SEGMENTS, Run
from lmlab.runs.tags import read_tags

MOST_LISTED = 8
RUN_FILES = {RECIPE, SEGMENTS, "metrics.jsonl", "checkpoints", "policy.json"}
"""Names that only a run's folder contains."""
TAGGED = "tag:"
"""Prefix of a tag in place of a run's name."""


def open_run(reference: str, root: Path) -> tuple[Run, str | None]:
    """Return the run that NAME, FOLDER or tag:TAG names, and the checkpoint after @, or None.

    Raises LabError if there is none, with the nearest name and the folder searched, or if a tag names several.
    """
    found = _named(reference, root)
    if len(found) > 1:
        names = ", ".join(run.name for run, _ in found[:MOST_LISTED])
        more = "" if len(found) <= MOST_LISTED else f" and {len(found) - MOST_LISTED} more"
        raise LabError(f"{reference[:60]} names {len(found)} runs: expected one of {names}{more}")
    return found[0]


def open_runs(references: Iterable[str], root: Path) -> list[tuple[Run, str | None]]:
    """Return `open_run` of each reference, in order, where tag:TAG gives every run that has the tag.

    A run that a tag names isn't repeated if it is in the list already.
    """
    found: list[tuple[Run, str | None]] = []
    for reference in references:
        named = _named(reference, root)
        there = {(run.id, which) for run, which in found} if reference.startswith(TAGGED) else set()
        found += [(run, which) for run, which in named if (run.id, which) not in there]
    return found


def _named(reference: str, root: Path) -> list[tuple[Run, str | None]]:
    """Return the runs that one reference names, at least one."""
    whole = reference != "" and _is_run(Path(reference))
    place, which = (reference, None) if whole else split_reference(reference)
    for folder in (root / place, Path(place)) if is_run_name(place) else (Path(place),):
        if place and _is_run(folder):
            return [(Run(folder), which)]
    if place.startswith(TAGGED):
        return [(run, which) for run in _tagged(place.removeprefix(TAGGED), root)]
    raise LabError(_unknown(place, root))


def _tagged(tag: str, root: Path) -> list[Run]:
    """Return the runs in `root` that have the tag, by name; raises LabError if there is none, with the existing tags."""
    tags = [(run, read_tags(run.folder)) for run in list_runs(root)]
    found = [run for run, own in tags if tag in own]
    if not found:
        there = sorted({one for _, own in tags for one in own})
        known = nearest(tag, there) or (f"expected one of {', '.join(there[:MOST_LISTED])}" if there else "")
        raise LabError(
            f"no run in {root} has the tag {tag[:60]!r}: {f'{known}; ' if known else ''}give it with lmlab runs tag RUN TAG"
        )
    return found


def list_runs(root: Path) -> list[Run]:
    """Return every run in `root`, by name; [] if the folder doesn't exist."""
    if not root.is_dir():
        return []
    names = [entry.name for entry in root.iterdir() if not entry.name.startswith(".") and _is_run(entry)]
    return [Run(root / name) for name in in_order(names)]


def _is_run(folder: Path) -> bool:
    try:
        return (folder / ORIGIN).is_file()
    except (OSError, ValueError):  # such as a name that's too long, or has a null byte
        return False


def _unknown(place: str, root: Path) -> str:
    for folder in (root / place, Path(place)) if is_run_name(place) else (Path(place),):
        contents = _contents(folder) if place else None
        if contents is not None:
            return _no_run(place, contents)
    folder = Path(place)
    names = [run.name for run in list_runs(root)]
    if not names:
        return (
            f"there is no run {place[:200]!r}: {root} has no runs; give its folder, or the folder of runs with --runs"
        )
    known = nearest(folder.name, names)
    listed = ", ".join(names[-MOST_LISTED:])
    more = "" if len(names) <= MOST_LISTED else f" and {len(names) - MOST_LISTED} more"
    return f"there is no run {place[:200]!r} in {root}: {known or f'expected one of {listed}{more}'}"


def _contents(folder: Path) -> list[str] | None:
    """Return the names in a folder, sorted; None if it doesn't exist."""
    try:
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else None
    except (OSError, ValueError):  # such as a name that's too long, or has a null byte
        return None


def _no_run(place: str, contents: list[str]) -> str:
    """Return the error for a folder without origin.json: what it contains, and whether it is the rest of a run."""
    shown = [name[:60] for name in contents[:MOST_LISTED]]
    if len(contents) > MOST_LISTED:
        shown.append(f"{len(contents) - MOST_LISTED} more")
    has = f"it has {' and '.join(filter(None, (', '.join(shown[:-1]), shown[-1])))}" if shown else "it is empty"
    rest = ""
    if RUN_FILES.intersection(contents):
        rest = f": put {ORIGIN} back from a copy of the run; without it no verb takes the folder for a run"
    return f"{place[:200]!r} is a folder, but not a run: it has no {ORIGIN}; {has}{rest}"
