"""The files of a task's data: looked for by name below a folder, or in the local cache of the Hugging Face hub.

Nothing is downloaded. `hub:OWNER/NAME` is the newest snapshot of that data set that huggingface_hub has downloaded before.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from lmlab import LabError
from lmlab.data.readers import SourceFile, describe_name
from lmlab.evaluation.tasks.item import Item
from lmlab.evaluation.tasks.records import TaskFile
from lmlab.evaluation.tasks.task import Task
from lmlab.files import cache_folder

HUB = "hub:"
MOST_ENTRIES = 100_000
"""Files that are looked at below a folder: more are no folder of benchmark tasks."""


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """A task's items as read from its files."""

    task: Task
    items: tuple[Item, ...]
    files: tuple[str, ...]
    sha256: str
    """SHA-256 of the unpacked file, or of several files' hashes in hexadecimal, joined in the order of their names."""


def read_task(task: Task, place: str = "") -> TaskData:
    """Return the task's items; `place` is a folder, one file, hub:OWNER/NAME, or empty for `default_folder()`.

    LabError if there is no such file, it is malformed (with its line), or it has no items.
    """
    files = [TaskFile(file) for file in find_files(task, place)]
    hashes = [file.sha256 for file in files]
    if len(set(hashes)) < len(hashes):
        twice = [file.name for file in files if hashes.count(file.sha256) > 1]
        raise LabError(f"{twice[0]} and {twice[1]} have the same content: expected each part of {task.name} once")
    items = tuple(item for file in files for item in task.read(file))
    if not items:
        raise LabError(f"{files[0].name} has no items of {task.name}: expected a question a line")
    whole = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return TaskData(task=task, items=items, files=tuple(file.name for file in files), sha256=whole)


def default_folder() -> Path:
    """Return the folder that is searched where no other is given: `tasks` in lmlab's cache."""
    return cache_folder() / "tasks"


def find_files(task: Task, place: str = "") -> list[SourceFile]:
    """Return the task's files, sorted by name. LabError if there are none, or several that don't belong together."""
    folder = (
        _hub_folder(place.removeprefix(HUB)) if place.startswith(HUB) else Path(place or default_folder()).expanduser()
    )
    if folder.is_file():
        return [_source(folder, folder.parent)]
    if not folder.is_dir():
        raise LabError(f"there is no folder {folder}: {_advice(task)}")
    found = matching(task, list(_below(folder)))
    if not found:
        raise LabError(f"{folder} has no file of {task.name}: {_advice(task)}")
    return [_source(path, folder) for path in found]


def matching(task: Task, paths: Sequence[Path]) -> list[Path]:
    """Return those of `paths` that are the task's files, [] if none. LabError if several match a pattern without a *."""
    for pattern in task.files:
        found = sorted(path for path in paths if PurePath(_plain(path)).match(pattern))
        if len(found) > 1 and "*" not in pattern:
            raise LabError(
                f"{found[0]} and {found[1]} are both files of {task.name}: name one of them with --task-data"
            )
        if found:
            return found
    return []


def available(tasks: Sequence[Task], place: str) -> list[Task]:
    """Return those tasks that have files below the folder `place`."""
    folder = (
        _hub_folder(place.removeprefix(HUB)) if place.startswith(HUB) else Path(place or default_folder()).expanduser()
    )
    paths = list(_below(folder)) if folder.is_dir() else []
    return [task for task in tasks if matching(task, paths)]


def _advice(task: Task) -> str:
    names = ", ".join(pattern for pattern in task.files if "snapshots" not in pattern)
    return f"expected {names} (plain, .gz, .xz, .zst or .bz2); give its folder or file with --task-data"


def _plain(path: Path) -> str:
    """Return a path without the ending of a compression."""
    _, packing = describe_name(path.name)
    return path.as_posix().removesuffix(f".{packing}") if packing else path.as_posix()


def _source(path: Path, folder: Path) -> SourceFile:
    kind, packing = describe_name(path.name)
    return SourceFile(name=path.relative_to(folder).as_posix(), path=path, kind=kind, packing=packing)


def _below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, except hidden ones."""
    seen = 0
    for place, folders, names in os.walk(folder.absolute()):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            seen += 1
            if seen > MOST_ENTRIES:
                raise LabError(f"{folder} has more than {MOST_ENTRIES:,} files: expected a folder of benchmark tasks")
            if not name.startswith("."):
                yield Path(place, name)


def _hub_folder(name: str) -> Path:
    """Return the local snapshot of a data set of the hub; LabError if there is none."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise LabError(f'{HUB}{name[:80]} needs the package huggingface_hub: pip install "lmlab[hub]"') from None
    try:
        return Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
    except LocalEntryNotFoundError:
        raise LabError(
            f"{name[:80]} isn't in the hub's cache on this machine: hf download --repo-type dataset {name[:80]}"
        ) from None
    except HFValidationError:
        raise LabError(f"{name[:80]!r} is no data set of the hub: expected {HUB}OWNER/NAME") from None
