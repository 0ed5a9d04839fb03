"""One request to an OpenAI-compatible address (llama.cpp, Ollama, vLLM, lmlab serve, a provider): chat completions over HTTP.

The key, if the server wants one, is that of OPENAI_API_KEY. It is sent to the given address alone, redirections are refused, and
where an answer contains it, it is taken out.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lmlab import LabError, __version__
from lmlab.files.storage import reason

KEY = "OPENAI_API_KEY"
LARGEST_ANSWER = 1 << 22
RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}
"""HTTP statuses that may be gone a moment later."""
REJECTED = {400, 413, 422}
LONGEST_WAIT_SECONDS = 120.0
LONGEST_REASON = 200
"""Characters of a server's own words in an error."""


class ServerFailed(LabError):
    """A server gave no usable answer."""

    def __init__(self, line: str, passing: bool, rejected: bool = False, wait_seconds: float = 0.0) -> None:
        """`passing`: the same request may succeed later, after the server's own `wait_seconds` (0: unknown); `rejected`: the server
        works, and doesn't accept this request, such as a prompt that is too long for it.
        """
        super().__init__(line)
        self.passing = passing
        self.rejected = rejected
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, kw_only=True)
class ChatAnswer:
    """A model's answer."""

    text: str
    reason: str
    """Why it ended, in the server's words."""
    prompt_tokens: int | None
    completion_tokens: int | None
    """Tokens as the server counted them; None if it doesn't say."""


class _Unredirected(urllib.request.HTTPRedirectHandler):
    """Refuses redirections, which would carry the key to another place."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        """Return no request: the redirection is reported as an error."""


def require_address(address: str, flag: str) -> str:
    """Return the address without a slash at its end; LabError, with the flag, if it isn't one or holds a password."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise LabError(f"{flag} {address[:80]!r} is no address: expected one such as http://127.0.0.1:11434/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise LabError(f"{flag}: an address with a password or a query would be stored; set {KEY} instead")
    return address.rstrip("/")


def chat(address: str, body: dict[str, Any], timeout_seconds: float) -> ChatAnswer:
    """Return the answer to a request at `address`/chat/completions; ServerFailed where there is none."""
    value = _post(f"{address}/chat/completions", body, timeout_seconds)
    try:
        choice = value["choices"][0]
        text = choice["message"]["content"] or ""
        usage = value.get("usage") or {}
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ServerFailed(
            f"{address} gave no chat completion: expected choices with a message", passing=False
        ) from None
    if not isinstance(text, str):
        raise ServerFailed(f"{address} gave no text: expected one in the message's content", passing=False)
    prompt, completion = (count if type(count) is int and 0 <= count < 1 << 40 else None for count in counts)
    reason = str(choice.get("finish_reason"))[:20]
    return ChatAnswer(text=without_key(text), reason=reason, prompt_tokens=prompt, completion_tokens=completion)


def without_key(text: str) -> str:
    """Return the text with the user's key taken out, wherever a server repeats it."""
    key = os.environ.get(KEY, "").strip()
    return text.replace(key, "[key]") if len(key) >= 4 else text


def _post(address: str, body: dict[str, Any], timeout_seconds: float) -> Any:
    headers = {"Content-Type": "application/json", "User-Agent": f"lmlab/{__version__}"}
    if key := os.environ.get(KEY, "").strip():
        headers["Authorization"] = f"Bearer {key}"
    try:
        request = urllib.request.Request(address, data=json.dumps(body).encode(), headers=headers)
        with urllib.request.build_opener(_Unredirected).open(request, timeout=timeout_seconds) as response:
            return json.loads(response.read(LARGEST_ANSWER))
    except urllib.error.HTTPError as error:
        said = _said(error)
        hint = f"; is {KEY} set?" if error.code in (401, 403) else ""
        hint = "; give the address that it redirects to" if 300 <= error.code < 400 else hint
        line = without_key(f"{address} answered {error.code} {error.reason}{said}{hint}")
        passing, rejected = error.code in RETRIED, error.code in REJECTED
        raise ServerFailed(line, passing=passing, rejected=rejected, wait_seconds=_wait(error)) from None
    except (OSError, ValueError) as error:
        line = without_key(f"{address} can't be asked ({reason(error)}): expected an OpenAI-compatible server there")
        raise ServerFailed(line, passing=isinstance(error, OSError)) from None


def _said(error: urllib.error.HTTPError) -> str:
    """Return the message in an error's JSON, as the end of a line; empty if there is none. Closes the connection."""
    try:
        with error:
            message = json.loads(error.read(LARGEST_ANSWER))["error"]["message"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f" ({message[:LONGEST_REASON]})" if isinstance(message, str) and message else ""


def _wait(error: urllib.error.HTTPError) -> float:
    """Return the seconds that the server asks to wait (Retry-After), at most LONGEST_WAIT_SECONDS; 0 if it doesn't say."""
    said = error.headers.get("Retry-After", "") if error.headers else ""
    return min(float(said), LONGEST_WAIT_SECONDS) if said.isascii() and said.isdecimal() else 0.0
