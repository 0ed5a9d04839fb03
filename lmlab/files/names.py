"""Names read from a file are used only if they can't point outside their folder."""

from __future__ import annotations

import re

LONGEST = 200
FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
"""Path separators, and characters that Windows forbids in file names."""


def is_plain_name(name: object) -> bool:
    """Return whether `name` is a string that names one folder entry on every system: no separators, no drive, no `..`."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST:
        return False
    return not FORBIDDEN.search(name) and name.strip(". ") != "" and not name.endswith((".", " "))
