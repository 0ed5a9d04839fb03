"""The code that made a run: the hash of lmlab's own source, and the git commit if it is a checkout."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

import lmlab

PACKAGE = Path(lmlab.__file__).parent
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
MOST_REFERENCES = 5
SOURCE_SUFFIXES = {".py", ".cpp", ".h"}


def source_sha256(package: Path = PACKAGE) -> str:
    """Return the SHA-256 over the names and bytes of the package's source files, which also identifies an edited checkout."""
    digest = hashlib.sha256()
    files = [path for path in package.rglob("*") if path.suffix in SOURCE_SUFFIXES]
    for path in sorted(files, key=lambda path: path.relative_to(package).as_posix()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@functools.cache
def running_source_sha256() -> str:
    """Return `source_sha256` of lmlab at the first call in this process: later edits don't affect the running code."""
    return source_sha256()


def git_commit(root: Path = PACKAGE.parent) -> str | None:
    """Return the commit checked out in `root`, read from .git's files (git need not be installed); None without one."""
    try:
        return _commit(_git_folder(root), "HEAD", MOST_REFERENCES)
    except (OSError, UnicodeDecodeError):
        return None


def _git_folder(root: Path) -> Path:
    """Return `.git`, or, in a worktree or submodule, the folder that the file `.git` names."""
    place = root / ".git"
    if place.is_file():
        return root / place.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    return place


def _commit(git: Path, name: str, most: int) -> str | None:
    for folder in (git, _common(git)):
        if not (folder / name).is_file():
            continue
        text = (folder / name).read_text(encoding="utf-8").strip()
        if COMMIT.fullmatch(text):
            return text
        if text.startswith("ref: ") and most:
            return _commit(git, text.removeprefix("ref: "), most - 1)
    packed = _common(git) / "packed-refs"
    for line in packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []:
        commit, _, reference = line.partition(" ")
        if reference == name and COMMIT.fullmatch(commit):
            return commit
    return None


def _common(git: Path) -> Path:
    """Return the folder that holds the references: for a worktree the one that all worktrees share."""
    path = git / "commondir"
    return git / path.read_text(encoding="utf-8").strip() if path.is_file() else git
