"""The page itself: HTML, style and scripts of this package, joined with the data of one model.

Data are JSON and base64 in `script` elements of a type that browsers don't execute. The only script that runs, and the only style,
are named by their hashes in the page's Content-Security-Policy, which also forbids all requests.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from html import escape
from typing import Any

SCRIPTS = (
    "tensors.js",
    "gpt.js",
    "context.js",
    "tokenizers.js",
    "sha256.js",
    "sampling.js",
    "checking.js",
    "elements.js",
    "chart.js",
    "writing.js",
    "looking.js",
    "page.js",
)
"""In the order in which they are joined."""
POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; base-uri 'none'; form-action 'none'"
)
SCRIPT_END = "</script>"


def document(title: str, facts: Mapping[str, Any], tensors: Mapping[str, str]) -> str:
    """Return the text of the page. `facts` are JSON values; `tensors` maps element ids to base64."""
    style, code = resource("style.css"), script()
    blocks = [_block("facts", "application/json", _json(facts))]
    blocks += [_block(identity, "text/plain", text) for identity, text in tensors.items()]
    policy = POLICY.format(script=_hash(code), style=_hash(style))
    parts = {
        "POLICY": escape(policy, quote=True),
        "TITLE": escape(title),
        "STYLE": f"<style>{style}</style>",
        "DATA": "\n".join(blocks),
        "SCRIPT": f"<script>{code}{SCRIPT_END}",
    }
    page = resource("page.html")
    pieces = page.split("%%")
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


@functools.cache
def script() -> str:
    """Return the page's whole script."""
    return "\n".join(resource(name) for name in SCRIPTS)


def resource(name: str) -> str:
    """Return a file of this package."""
    return importlib.resources.files("lmlab.exchange.html").joinpath(name).read_text(encoding="utf-8")


def _block(identity: str, kind: str, content: str) -> str:
    return f'<script type="{kind}" id="{identity}">{content}{SCRIPT_END}'


def _json(value: Any) -> str:
    """Return JSON that can't end its element, whatever texts it holds."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
