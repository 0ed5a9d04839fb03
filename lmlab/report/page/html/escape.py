"""Text from files in HTML and in scripts: nothing of it is markup, code or an escape sequence."""

from __future__ import annotations

import html
import json
from typing import Any

from lmlab import printable
from lmlab.files.durable import without_nan


def text(value: object) -> str:
    """Return a value as HTML text or as an attribute in double quotes; line breaks stay, other control characters are shown."""
    return html.escape(printable(value, lines=True), quote=True)


def script_json(value: Any) -> str:
    """Return JSON for a script block: nothing that a run's files hold can end the block, since it has no <, > or &."""
    shown = json.dumps(without_nan(value), ensure_ascii=True, separators=(",", ":"))
    return shown.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
