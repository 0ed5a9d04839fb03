"""Folders that nobody else may write: a library that is loaded from one runs as this user.

Owners count, and the permission bits of group and others (POSIX; Windows keeps the cache in the user's own profile, and
nothing is checked there). Folders of this user that others may write, as a umask of 002 makes them, are closed to them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lmlab import LabError
from lmlab.files import make_folder, reason

OWN = 0o700
"""The mode of what is made here: for this user alone."""
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
ADVICE = "remove it, or set LMLAB_CACHE to a folder of your own"


def private_folder(folder: Path) -> Path:
    """`folder` as it resolves, created where it wasn't, which nobody else may write; LabError where that can't be had.

    What is above it isn't checked, so it may be in a folder such as /tmp.
    """
    found = make_folder(folder, mode=OWN).resolve()
    require_private(found)
    return found


def require_private(path: Path) -> None:
    """Close this file or folder to the writes of others; LabError where it is a link, is another user's, or stays open to them."""
    if os.name != "posix":
        return
    try:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            raise LabError(f"{path} is a link, and no code is loaded through one: {ADVICE}")
        if facts.st_uid not in trusted_owners():
            raise LabError(f"{path} belongs to another user, whose code isn't run: {ADVICE}")
        if facts.st_mode & WRITABLE_BY_OTHERS:
            path.chmod(stat.S_IMODE(facts.st_mode) & ~WRITABLE_BY_OTHERS)
            if path.lstat().st_mode & WRITABLE_BY_OTHERS:
                raise LabError(f"{path} can be written by other users, and its mode can't be changed: {ADVICE}")
    except OSError as error:
        raise LabError(f"{path} can't be closed to the writes of other users ({reason(error)}): {ADVICE}") from None


def writable_by_everyone(path: Path) -> bool:
    """Whether every user may write the file at `path`: then its owner says nothing of who wrote it."""
    mode = path.lstat().st_mode
    return os.name == "posix" and stat.S_ISREG(mode) and bool(mode & stat.S_IWOTH)


def trusted_owners() -> tuple[int, ...]:
    """Whose files are taken as this user's own: theirs, and those of root, who may do everything anyhow."""
    return (os.geteuid(), 0)
