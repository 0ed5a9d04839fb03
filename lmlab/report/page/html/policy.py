"""The Content-Security-Policy of a page: its own scripts by their hashes, its styles by a nonce, and no request of any kind."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'nonce-{nonce}'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'"
)


def policy(scripts: Sequence[str], nonce: str) -> str:
    """Return the policy for these inline scripts.

    BokehJS creates style elements, to which the page's first script gives the nonce.
    """
    return POLICY.format(scripts=" ".join(map(script_hash, scripts)), nonce=nonce)


def script_hash(script: str) -> str:
    """Return the source expression of an inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def nonce_of(content: str) -> str:
    """Return a nonce that depends on everything in the page, so that nothing in it can know it."""
    return hashlib.sha256(f"nonce of {content}".encode()).hexdigest()[:32]
