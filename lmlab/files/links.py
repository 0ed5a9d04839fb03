"""Detection of links: symbolic ones, and Windows's junctions, which Python 3.11 treats as folders.

Code that removes or writes files of foreign origin checks for links first, since their targets aren't ours to change.
"""

from __future__ import annotations

import stat
from pathlib import Path

JUNCTION = 0xA0000003
"""IO_REPARSE_TAG_MOUNT_POINT, which `stat` has on Windows only."""


def is_link(path: Path) -> bool:
    """Return whether `path` itself is a link, including a dangling one; False if nothing is there."""
    try:
        entry = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(entry.st_mode) or getattr(entry, "st_reparse_tag", 0) == JUNCTION
