"""One builder at a time: an operating-system lock on a file, which dies with its owner.

A second process waits until the first is done, and then finds what that one made.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

from lmlab.data.cache import make_folder
from lmlab.data.progress import Progress
from lmlab.files import try_lock

POLL_SECONDS = 0.1


class FileLock:
    """`with FileLock(path, progress, "message while waiting"): ...`"""

    def __init__(self, path: Path, progress: Progress, waiting: str) -> None:
        self.path = path
        self.progress = progress
        self.waiting = waiting
        self._file: IO[bytes] | None = None

    def __enter__(self) -> FileLock:
        make_folder(self.path.parent)
        self._file = open(self.path, "ab")
        told = False
        while not try_lock(self._file):
            if not told:
                self.progress.say(self.waiting)
                told = True
            time.sleep(POLL_SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
