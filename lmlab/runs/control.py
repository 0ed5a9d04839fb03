"""Requests to a training process: files in the run's `control/` folder, so that any program can make one.

save: write a checkpoint now. stop: save and end. These two files are removed when they are read. pause: wait while the file exists.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = "control"
REQUESTS = ("save", "pause", "stop")
LASTING = "pause"


def read_control(folder: Path) -> set[str]:
    """Return the current requests to the run in `folder`; save and stop are returned once, pause as long as its file exists.

    A save or stop file that can't be removed is ignored, since it would be read again forever.
    """
    requests = {name for name in REQUESTS if (folder / FOLDER / name).exists()}
    return {name for name in requests if name == LASTING or _taken(folder / FOLDER / name)}


def clear_control(folder: Path) -> None:
    """Remove requests that were meant for an earlier process."""
    for name in REQUESTS:
        _taken(folder / FOLDER / name)


def _taken(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
