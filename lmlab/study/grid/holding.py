"""Locks that assign the runs of a study to workers, and notes about runs that ended early.

A worker holds a run's operating-system lock from before the run exists until it has finished with it. The lock is released when the
process ends, however it ends, and workers on several machines share a study where their file system has locks.

    study-NAME/held/RUN.lock          locked while a worker trains the run
    study-NAME/held/RUN.failed.json   it can't be trained: the reason
    study-NAME/held/RUN.lost.json     it was stopped because it can't win: its predicted final loss
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from lmlab import LabError, StorageError
from lmlab.files import DISK, is_link, make_folder, read_json, reason, remove_old_temporaries, try_lock, write_json

FOLDER = "held"
FORMAT = 1
Ending = Literal["failed", "lost"]


@contextlib.contextmanager
def holding(folder: Path, name: str) -> Iterator[bool]:
    """Hold the lock of the run `name` of the study in `folder`; yields False where another worker has it."""
    try:
        file = DISK.open(make_folder(_place(folder)) / f"{name}.lock", "ab")
    except OSError as error:
        raise _unusable(folder, error) from None
    with file:
        try:
            held = try_lock(file)
        except OSError as error:
            raise _unusable(folder, error) from None
        yield held


def note(folder: Path, name: str, ending: Ending, values: dict[str, Any]) -> None:
    """Write a note that a run ended early."""
    write_json(_path(folder, name, ending), {"format": FORMAT, **values})


def noted(folder: Path, name: str, ending: Ending) -> dict[str, Any] | None:
    """Return the note of that ending; None where there is none."""
    path = _path(folder, name, ending)
    if not path.exists():
        return None
    value = read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get("reason"), str):
        raise LabError(f"{path} is damaged: delete it, and the run is tried again")
    return value


def forget(folder: Path, ending: Ending) -> None:
    """Delete the notes of that ending, so that these runs are tried again."""
    for path in _place(folder).glob(f"*.{ending}.json"):
        path.unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove temporary files that killed processes left in the study's folder; other workers may be writing there now."""
    for place in (folder, _place(folder)):
        remove_old_temporaries(place)


def _path(folder: Path, name: str, ending: Ending) -> Path:
    return _place(folder) / f"{name}.{ending}.json"


def _place(folder: Path) -> Path:
    """Return the folder of locks and notes; LabError where it is a link, whose target isn't the study's own."""
    place = folder / FOLDER
    if is_link(place):
        raise LabError(
            f"{place} is a link: expected the study's own folder; replace it with the folder that it points to"
        )
    return place


def _unusable(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"{folder / FOLDER} can't be used: {reason(error)}; put the runs on a disk that has locks")
