"""Slimming a checkpoint to its weights: it can be read and branched from, but training can't continue exactly from it.

    a manifest without the dropped parts replaces the old one -> pointers get its hash -> the files are removed

A crash in between leaves an intact checkpoint; files that the manifest no longer lists are removed at the next save.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from lmlab import LabError
from lmlab.checkpoint.layout import MANIFEST, SUFFIX, folder_of
from lmlab.checkpoint.manifest import read_manifest
from lmlab.checkpoint.pointers import BEST, LATEST, point, pointed
from lmlab.files import DISK, Storage, remove_temporaries, write_json

WEIGHTS = f"weights{SUFFIX}"


def slim(checkpoints: Path, step: int, storage: Storage = DISK) -> bool:
    """Drop every part but the weights; return False if there is none, or the system or the folder doesn't allow it."""
    folder = folder_of(checkpoints, step)
    try:
        manifest = read_manifest(folder, step)
        dropped = [name for name in manifest["files"] if name.endswith(SUFFIX) and name != WEIGHTS]
        if not dropped or WEIGHTS not in manifest["files"]:
            return False
        files = {name: facts for name, facts in manifest["files"].items() if name not in dropped}
        write_json(folder / MANIFEST, {**manifest, "files": files}, storage)
        for name in (LATEST, BEST):
            pointer = pointed(checkpoints, name)
            if pointer is not None and pointer["step"] == step:
                facts = {key: value for key, value in pointer.items() if key == "loss"}
                point(checkpoints, name, step, storage, **facts)
        clear_unlisted(folder, step, storage)
    except (LabError, OSError):
        return False
    return True


def clear_unlisted(folder: Path, step: int, storage: Storage = DISK) -> None:
    """Remove tensor files that a checkpoint's manifest doesn't list, and temporary files, which a crash left."""
    try:
        listed = read_manifest(folder, step)["files"]
    except LabError:
        return
    for entry in sorted(folder.iterdir()):
        if entry.name.endswith(SUFFIX) and entry.name not in listed:
            with contextlib.suppress(OSError):
                storage.remove(entry)
    remove_temporaries(folder, storage)
