"""Where an export goes: a free name, and a draft beside it that takes the name once the export has proven itself."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from lmlab import LabError, StorageError
from lmlab.files import (
    flush_folder,
    make_folder,
    reason,
    remove_dead,
    temporary_folder,
)
from lmlab.files.leftovers import TemporaryFolder

DRAFT = ".export-"
"""Prefix of the folder until the export has proven itself."""
MODE = 0o777

Kind = Literal["folder", "file"]


def free_place(target: Path, kind: Kind) -> Path:
    """Return the target, whose parent exists then; LabError unless it is new, or an empty folder for a folder."""
    # The parent first, since a path may lead through a folder that isn't there yet (new/../file.html).
    make_folder(target.parent, f"name another {kind} with --out")
    try:
        empty = kind == "folder" and target.is_dir() and not any(target.iterdir())
        if os.path.lexists(target) and not empty:
            raise LabError(f"{target} is there already: name a new {kind} with --out")
    except OSError as error:
        raise LabError(f"--out {target} can't be used: {reason(error)}; name another {kind} with --out") from None
    remove_dead(target.parent, DRAFT)
    return target


def draft_beside(target: Path) -> AbstractContextManager[TemporaryFolder]:
    """Return a context with a folder on the target's disk, which is removed at its end unless it was released."""
    return temporary_folder(target.parent, DRAFT, MODE)


def put_in_place(made: Path, target: Path, kind: Kind) -> None:
    """Give what was made the target's name; StorageError where the system refuses."""
    try:
        if target.is_dir():
            target.rmdir()
        os.rename(made, target)
        flush_folder(target.parent)
    except OSError as error:
        raise StorageError(f"{target} can't be written: {reason(error)}; name another {kind} with --out") from None
