"""init.json: the contents of the checkpoint of step 0, if its tensors are stored only as the seed that they are drawn from.

    {"format": 1, "step": 0, "files": {"weights.safetensors": {"sha256": "...", "bytes": 3262240}, ...}, "state": {...}}

`files` is as in the manifest, `state` the value of its state.json. Code that draws the tensors again compares the hashes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.layout import folder_of
from lmlab.checkpoint.manifest import read_manifest, require_files
from lmlab.checkpoint.opened import read_state_file
from lmlab.files import DISK, Storage, read_json, write_json

FORMAT = 1
NAME = "init.json"
LARGEST_BYTES = 8 << 20


def note_initial(checkpoints: Path, storage: Storage = DISK) -> None:
    """Write init.json for the checkpoint of step 0; from then on pruning may remove that checkpoint."""
    files = read_manifest(folder_of(checkpoints, 0), 0)["files"]
    value = {"format": FORMAT, "step": 0, "files": files, "state": read_state_file(checkpoints, 0)}
    write_json(checkpoints / NAME, value, storage)


def is_noted(checkpoints: Path) -> bool:
    """Return whether there is a readable init.json."""
    try:
        return read_initial(checkpoints) is not None
    except LabError:
        return False


def read_initial(checkpoints: Path) -> dict[str, Any] | None:
    """Return the content of init.json; None if there is none; raises LabError if it is damaged."""
    path = checkpoints / NAME
    if not path.exists():
        return None
    value = read_json(path, LARGEST_BYTES)
    if not isinstance(value, dict) or not isinstance(value.get("state"), dict) or value.get("step") != 0:
        raise LabError(f"{path} is damaged: expected the files and the state of step 0; put it back from a copy")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    require_files(path, value.get("files"))
    return value
