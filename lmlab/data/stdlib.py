"""The corpus available on every machine: the source of Python's standard library.

Left out by rule: tests; packages installed later; generated files (the build's settings, the character tables of `encodings`, the
help texts of `pydoc_data/topics.py`). The files are sorted by relative path, character by character, so the order is the same on
every system.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from lmlab import LabError

LEFT_OUT_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib-dynload", "encodings"}
)
LEFT_OUT_FILES = frozenset({"pydoc_data/topics.py"})


def stdlib_folder() -> Path:
    """Return the folder of this Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def stdlib_files(folder: Path | None = None) -> list[tuple[str, Path]]:
    """Return (relative path with forward slashes, path) of every file of the corpus, in order."""
    folder = folder or stdlib_folder()
    chosen = sorted((path.relative_to(folder).as_posix(), path) for path in _sources(folder))
    if not chosen:
        raise LabError(
            f"Python's standard library has no source files in {folder}: choose another corpus with --data.corpus FILE"
        )
    return chosen


def belongs(name: str) -> bool:
    """Return whether the file with that relative path is part of the corpus.

    >>> belongs("json/decoder.py"), belongs("unittest/test/test_case.py"), belongs("encodings/cp1252.py")
    (True, False, False)
    """
    *folders, file = name.split("/")
    return all(map(_is_entered, folders)) and name not in LEFT_OUT_FILES and not file.startswith("_sysconfigdata")


def _sources(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _is_entered(name)]  # os.walk then never enters the others
        for path in (Path(place, name) for name in names if name.endswith(".py")):
            if path.is_file() and not path.is_symlink() and belongs(path.relative_to(folder).as_posix()):
                yield path


def _is_entered(folder: str) -> bool:
    return folder not in LEFT_OUT_FOLDERS and not folder.startswith("config-")
