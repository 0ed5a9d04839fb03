"""A checkpoint that keeps its weights and drops the rest: it can be read and branched from, but not trained on exactly.

    a manifest without the dropped parts takes the place of the old one -> pointers take its hash -> the files go

Whatever crashes in between leaves a checkpoint that is intact; files that no manifest lists any more go with the next save.
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
    """Drop every part but the weights; False where there is none, or where the system or the folder doesn't allow it."""
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
    """Remove tensors that the manifest of a checkpoint doesn't list, and half-written files: a crash left them."""
    try:
        listed = read_manifest(folder, step)["files"]
    except LabError:
        return
    for entry in sorted(folder.iterdir()):
        if entry.name.endswith(SUFFIX) and entry.name not in listed:
            with contextlib.suppress(OSError):
                storage.remove(entry)
    remove_temporaries(folder, storage)
