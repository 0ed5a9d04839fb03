"""Requests to a run that trains: files in its `control/` folder, so that anything that can make a file can ask.

save: a checkpoint now. stop: save and end. These two go when they are read. pause: wait while its file is there.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = "control"
REQUESTS = ("save", "pause", "stop")
LASTING = "pause"


def read_control(folder: Path) -> set[str]:
    """What is asked of the run in `folder` now; save and stop are asked once, a pause lasts while its file is there.

    A file that can't be taken away counts for nothing: it would ask again without end.
    """
    requests = {name for name in REQUESTS if (folder / FOLDER / name).exists()}
    return {name for name in requests if name == LASTING or _taken(folder / FOLDER / name)}


def clear_control(folder: Path) -> None:
    """Forget what was asked of an earlier process, or of none."""
    for name in REQUESTS:
        _taken(folder / FOLDER / name)


def _taken(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
