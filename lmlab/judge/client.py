"""A judge behind an OpenAI-compatible address: each call is kept on disk by its content, retried where that may help, and counted.

A call's key is the hash of address, model and request. So a judgement that was killed continues where it was, and a repeated one
costs nothing. The key of OPENAI_API_KEY is in neither request nor file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.exchange.chat_completions import ServerFailed, chat
from lmlab.files import cache_folder, make_folder, read_json, write_bytes
from lmlab.files.durable import json_bytes
from lmlab.judge.prompting import Method, Reply, messages_for, read_reply
from lmlab.judge.questions import digest

FORMAT = 1
FOLDER = "judge"
LARGEST_CALL = 1 << 23
TRIES = 5
REJECTED = "rejected by the server"
"""The failure of a call that the server doesn't accept, such as a prompt longer than its context; it isn't kept."""
FIRST_PAUSE_SECONDS = 1.0
BYTES_A_TOKEN = 4.0
"""Of English text and JSON under large vocabularies, for an estimate before anything is asked."""


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """Which judge is asked, and how."""

    address: str
    model: str
    method: Method = "score"
    temperature: float = 0.0
    tokens: int = 200
    """Tokens that a reply may have."""
    seed: int = 1
    timeout_seconds: float = 120.0
    parallel: int = 4
    """Calls at once."""

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.model or self.address

    def body(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        """Return the request's JSON."""
        settings = {"temperature": self.temperature, "max_tokens": self.tokens, "seed": self.seed}
        return {"model": self.model, "messages": messages, **settings}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One thing to judge: a question with the answers that one prompt shows, in its order."""

    question: str
    reference: str
    answers: tuple[str, ...]
    repeat: int = 0

    def messages(self, method: Method) -> list[dict[str, str]]:
        """Return the prompt."""
        return messages_for(method, self.question, self.reference, self.answers, self.repeat)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A judge's reply to a call."""

    reply: Reply
    text: str
    """The reply itself."""
    key: str
    """The call's key in the cache."""
    prompt_tokens: int
    completion_tokens: int
    """As the server counted them, else estimated."""


@dataclass
class Judge:
    """A judge with its cache. Safe to use from several threads."""

    settings: JudgeSettings
    folder: Path = field(default_factory=lambda: cache_folder() / FOLDER)
    sleep: Callable[[float], object] = time.sleep
    rejection: str = ""
    """Why the server rejected the last call that it did; empty if it accepted all."""

    def ask(self, calls: Sequence[Call]) -> Iterator[Result]:
        """Yield the results in order; LabError where the server fails, after which the same command continues."""
        with ThreadPoolExecutor(max_workers=self.settings.parallel) as pool:
            futures: list[Future[Result]] = [pool.submit(self.result, call) for call in calls]
            try:
                for future in futures:
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

    def known(self, calls: Sequence[Call]) -> int:
        """Return how many of the calls are in the cache."""
        return sum(self._path(self._key(call)).exists() for call in calls)

    def result(self, call: Call) -> Result:
        """Return the result of a call, from the cache if it's there."""
        key = self._key(call)
        stored = self._read(key)
        if stored is None:
            try:
                stored = self._asked(call)
            except ServerFailed as failure:
                if not failure.rejected:
                    raise LabError(f"{failure}; the calls so far are kept, and the same command continues") from None
                self.rejection = str(failure)
                reply = Reply(failure=REJECTED)
                return Result(reply=reply, text="", key=key, prompt_tokens=0, completion_tokens=0)
            path = self._path(key)
            make_folder(path.parent)
            write_bytes(path, json_bytes(stored))
        method = self.settings.method
        reply = read_reply(method, stored["text"], len(call.answers))
        return Result(
            reply=reply,
            text=stored["text"],
            key=key,
            prompt_tokens=stored["prompt_tokens"] or estimated_tokens(call, method),
            completion_tokens=stored["completion_tokens"] or round(len(stored["text"]) / BYTES_A_TOKEN),
        )

    def _key(self, call: Call) -> str:
        return digest([self.settings.address, self.settings.body(call.messages(self.settings.method))])

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    def _read(self, key: str) -> dict[str, Any] | None:
        """Return a stored call; None if there is none, or it is damaged and is asked again."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            value = read_json(path, LARGEST_CALL)
        except LabError:
            return None
        whole = isinstance(value, dict) and value.get("format") == FORMAT and isinstance(value.get("text"), str)
        counts = [value.get(name) for name in ("prompt_tokens", "completion_tokens")] if whole else []
        return value if whole and all(count is None or type(count) is int for count in counts) else None

    def _asked(self, call: Call) -> dict[str, Any]:
        body = self.settings.body(call.messages(self.settings.method))
        pause = FIRST_PAUSE_SECONDS
        for tried in range(1, TRIES + 1):
            try:
                answer = chat(self.settings.address, body, self.settings.timeout_seconds)
            except ServerFailed as failure:
                if not failure.passing or tried == TRIES:
                    raise
                self.sleep(max(pause, failure.wait_seconds))
                pause *= 2
                continue
            return {
                "format": FORMAT,
                "address": self.settings.address,
                "request": body,
                "text": answer.text,
                "reason": answer.reason,
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
            }
        raise AssertionError("the last try returns or raises")


def estimated_tokens(call: Call, method: Method) -> int:
    """Return an estimate of the prompt's tokens, from its bytes."""
    return round(sum(len(message["content"].encode()) for message in call.messages(method)) / BYTES_A_TOKEN)
