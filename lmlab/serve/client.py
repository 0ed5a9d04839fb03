"""A model behind an OpenAI-compatible address (lmlab serve, Ollama, vLLM, llama.cpp, a provider) as the partner of a dialogue.

The address is the only one that is asked, and redirections aren't followed. The key, if the server wants one, is that of
LMLAB_SERVE_TOKEN, else of OPENAI_API_KEY.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lmlab import LabError, __version__
from lmlab.files.storage import reason
from lmlab.generation.settings import Sampling
from lmlab.recipe.template import Message
from lmlab.serve.dialogue import Answered, shortened

KEYS = ("LMLAB_SERVE_TOKEN", "OPENAI_API_KEY")
TIMEOUT_SECONDS = 120.0
LARGEST_ANSWER, LONGEST_LINE = 1 << 22, 1 << 20
MOST_NAMES = 10
TOO_LONG = "context_length_exceeded"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirections would send the key to another server."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class ServerError(LabError):
    """The server refused a request; `code` is that of its error object."""

    code = ""


class RemotePartner:
    """See `Partner`."""

    def __init__(self, address: str, model: str = "") -> None:
        """`address` is such as http://127.0.0.1:8000, with or without /v1; `model` is needed where the server has several."""
        base = address.rstrip("/")
        self.address = base if base.endswith("/v1") else f"{base}/v1"
        self._opener = urllib.request.build_opener(_NoRedirect)
        entry = self._model(model)
        self.name: str = entry["id"]
        # Only lmlab's server tells; any other is asked for chat completions.
        self._base = "template" in entry and entry["template"] is None

    @property
    def about(self) -> str:
        """See `Partner`."""
        kind = "base model, continues the text" if self._base else "chat completions"
        return f"{self.name} at {self.address} ({kind})"

    @property
    def takes_system(self) -> bool:
        """See `Partner`."""
        return not self._base

    def answer(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: Callable[[str], object],
        stop_requested: Callable[[], bool],
    ) -> Answered:
        """See `Partner`. The oldest turns are left out where the server says that the prompt is too long."""
        while True:
            try:
                return self._answer(messages, sampling, on_text, stop_requested)
            except ServerError as error:
                fewer = shortened(messages) if error.code == TOO_LONG else None
                if fewer is None:
                    raise
                messages = fewer

    def _answer(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: Callable[[str], object],
        stop_requested: Callable[[], bool],
    ) -> Answered:
        path = "completions" if self._base else "chat/completions"
        began, first, pieces, tokens = time.perf_counter(), None, [], None
        with self._open(path, self._body(messages, sampling)) as response:
            for event in _events(response):
                tokens = _tokens(event, tokens)
                piece = _piece(event)
                if piece:
                    first = time.perf_counter() - began if first is None else first
                    pieces.append(piece)
                    on_text(piece)
                if stop_requested():
                    # Leaving the block closes the connection, which ends the text on the server.
                    break
        return Answered(text="".join(pieces), tokens=tokens, seconds=time.perf_counter() - began, first_seconds=first)

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        if sampling.draft:
            raise LabError("draft tokens are for a model in this process: leave --draft out")
        body: dict[str, Any] = {
            "model": self.name,
            "max_tokens": sampling.tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        # Extensions of some servers are sent only where they ask for something.
        for name, neutral in (("top_k", 0), ("min_p", 0.0), ("repetition_penalty", 1.0), ("stop", ())):
            if (value := getattr(sampling, name)) != neutral:
                body[name] = value
        if self._base:
            texts = [message.content for message in messages]
            return {**body, "prompt": "".join(text if text.endswith("\n") else f"{text}\n" for text in texts)}
        return {**body, "messages": [{"role": one.role, "content": one.content} for one in messages]}

    def _model(self, name: str) -> dict[str, Any]:
        """Return the server's entry of the model. LabError if it has no such model, or several and none was named."""
        with self._open("models") as response:
            value = _parsed(response.read(LARGEST_ANSWER), self.address)
        entries = value.get("data") if isinstance(value, dict) else None
        if not isinstance(entries, list):
            raise LabError(f"{self.address} lists no models: expected an OpenAI-compatible server")
        known = {one["id"]: one for one in entries if isinstance(one, dict) and isinstance(one.get("id"), str)}
        if name in known or (not name and len(known) == 1):
            return dict(known[name] if name else next(iter(known.values())))
        names = ", ".join(list(known)[:MOST_NAMES]) or "none"
        problem = f"has no model {name}" if name else f"has {len(known)} models"
        raise LabError(f"{self.address} {problem}: choose one with --model, of {names}")

    def _open(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the open response. ServerError if the server refuses, LabError if it can't be reached."""
        headers = {"Content-Type": "application/json", "User-Agent": f"lmlab/{__version__}"}
        key = next((os.environ[name] for name in KEYS if os.environ.get(name)), "")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        address = f"{self.address}/{path}"
        try:
            data = None if body is None else json.dumps(body).encode()
            return self._opener.open(
                urllib.request.Request(address, data=data, headers=headers), timeout=TIMEOUT_SECONDS
            )
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error, address) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise LabError(
                f"{address} can't be asked ({reason(error)}): expected an OpenAI-compatible server there"
            ) from None


def is_address(text: str) -> bool:
    """Return whether a chat's target is an address, and not a run."""
    return text.startswith(("http://", "https://"))


def _refused(error: urllib.error.HTTPError, address: str) -> ServerError:
    """Return the error for a refusal, in the server's words if it has OpenAI's error object."""
    message, code = str(error.reason), ""
    try:
        value = json.loads(error.read(LARGEST_ANSWER))["error"]
        message, code = str(value["message"]), str(value.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError, http.client.HTTPException):
        pass
    hint = f"; set {KEYS[0]} to the server's token" if error.code in (401, 403) else ""
    found = ServerError(f"{address} answered {error.code}: {message}{hint}")
    found.code = code
    return found


def _events(response: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of a stream of server-sent events. LabError if it breaks off, or one is an error."""
    try:
        while line := response.readline(LONGEST_LINE):
            data = line.strip()
            if not data.startswith(b"data:"):
                continue
            data = data[5:].strip()
            if data == b"[DONE]":
                return
            event = _parsed(data, "the server")
            if not isinstance(event, dict):
                raise LabError("the server sent no object: expected an OpenAI-compatible server")
            if isinstance(event.get("error"), dict):
                raise LabError(f"the server stopped the answer: {event['error'].get('message')}")
            yield event
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"the connection broke off ({reason(error)}): try again") from None
    raise LabError("the server ended the answer early: try again")


def _parsed(content: bytes, whose: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise LabError(f"{whose} sent something that isn't JSON: expected an OpenAI-compatible server") from None


def _piece(event: dict[str, Any]) -> str:
    """Return the text that an event adds."""
    try:
        choice = event["choices"][0]
        piece = choice["text"] if "text" in choice else choice["delta"].get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""
    return piece if isinstance(piece, str) else ""


def _tokens(event: dict[str, Any], before: int | None) -> int | None:
    usage = event.get("usage")
    found = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return found if type(found) is int else before
