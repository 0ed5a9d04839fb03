"""Links: symbolic ones, and Windows's junctions, which Python 3.11 takes for folders.

Whoever removes or writes what may come from elsewhere asks first, since what a link leads to is not ours.
"""

from __future__ import annotations

import stat
from pathlib import Path

JUNCTION = 0xA0000003
"""IO_REPARSE_TAG_MOUNT_POINT, which `stat` has on Windows only."""


def is_link(path: Path) -> bool:
    """Whether `path` itself is a link, also one that leads nowhere; False where nothing is there."""
    try:
        entry = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(entry.st_mode) or getattr(entry, "st_reparse_tag", 0) == JUNCTION
