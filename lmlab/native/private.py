"""Checks that files and folders aren't writable by other users: a library that is loaded from them runs as this user.

Owner and permission bits of group and others are checked (POSIX only; on Windows the cache is in the user's profile). The write
permission of others is removed from files and folders of this user, as a umask of 002 creates them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lmlab import LabError
from lmlab.files import make_folder, reason

OWN = 0o700
"""Mode of new files and folders: access for this user only."""
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
ADVICE = "remove it, or set LMLAB_CACHE to a folder of your own"


def private_folder(folder: Path) -> Path:
    """Return `folder` resolved, created if missing, and not writable by other users. LabError if that is impossible.

    Parent folders aren't checked, so it may be in a folder such as /tmp.
    """
    found = make_folder(folder, mode=OWN).resolve()
    require_private(found)
    return found


def require_private(path: Path) -> None:
    """Remove others' write permission from a file or folder. LabError if it is a link, another user's, or stays writable."""
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
    """Return whether every user may write to the file at `path`, so that its owner need not be its author."""
    mode = path.lstat().st_mode
    return os.name == "posix" and stat.S_ISREG(mode) and bool(mode & stat.S_IWOTH)


def trusted_owners() -> tuple[int, ...]:
    """Return the owners whose files are trusted: this user and root."""
    return (os.geteuid(), 0)
