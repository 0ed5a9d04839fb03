"""Facts about files that are cached between runs.

The SHA-256 of a large file is stored with the file's size, time and inode, so that it is computed once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.progress import Progress, Silent
from lmlab.files import read_json, write_shared

HASH_BLOCK = 1 << 20

RACY_NANOSECONDS = 2_000_000_000
"""A file changed less than 2 s ago may change again within the resolution of its time stamp, so its hash isn't stored yet."""


def file_hashes(paths: Iterable[Path], key: str, root: Path, progress: Progress | None = None) -> dict[Path, str]:
    """Return path -> SHA-256 of its bytes, cached under `key` (a corpus) as long as the files are unchanged."""
    paths = list(dict.fromkeys(paths))
    record_file = root / "hashes" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    known = _recorded(record_file)
    stats = {path: path.stat() for path in paths}
    marks = {path: [stats[path].st_size, stats[path].st_mtime_ns, stats[path].st_ino] for path in paths}
    hashes = {path: known[str(path)][3] for path in paths if known.get(str(path), [None])[:3] == marks[path]}
    missing = [path for path in paths if path not in hashes]
    if not missing:
        return hashes
    progress = progress or Silent()
    progress.begin("hashing", sum(stats[path].st_size for path in missing))
    for path in missing:
        hashes[path] = _hash(path, progress)
    now = time.time_ns()
    unchanging = {str(path): [*marks[path], hashes[path]] for path in paths if now - marks[path][1] > RACY_NANOSECONDS}
    write_shared(record_file, unchanging)
    return hashes


def _recorded(record_file: Path) -> dict[str, list[Any]]:
    """Return the stored entries; empty if the file is missing or damaged."""
    try:
        value = read_json(record_file)
    except LabError:
        return {}
    if not isinstance(value, dict):
        return {}
    return {
        name: entry
        for name, entry in value.items()
        if isinstance(entry, list) and len(entry) == 4 and isinstance(entry[3], str)
    }


def _hash(path: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
            progress.advance(len(block))
    return digest.hexdigest()
