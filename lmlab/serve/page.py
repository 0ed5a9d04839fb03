"""The chat page, and the policy that lets a browser run nothing but the page's own script."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re

POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@functools.cache
def page() -> tuple[str, str]:
    """Return the page's HTML and its Content-Security-Policy, which names its script and its style by their hashes."""
    text = importlib.resources.files("lmlab.serve").joinpath("page.html").read_text(encoding="utf-8")
    return text, POLICY.format(script=_hash(text, "script"), style=_hash(text, "style"))


def _hash(text: str, tag: str) -> str:
    """Return the source expression of the only inline element of this name."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
