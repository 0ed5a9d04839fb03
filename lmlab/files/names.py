"""Names that come out of a file are believed only when they can't lead out of their folder."""

from __future__ import annotations

import re

LONGEST = 200
FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
"""Path separators, and what Windows allows in no file's name."""


def is_plain_name(name: object) -> bool:
    """Whether `name` is text that names one entry of a folder on every system: no separators, no drive, no `..`."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST:
        return False
    return not FORBIDDEN.search(name) and name.strip(". ") != "" and not name.endswith((".", " "))
