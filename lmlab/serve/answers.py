"""Answers to completions and chat completions, as OpenAI's objects: whole, or in chunks while they are generated.

An answer takes events one by one; each gives at most one chunk. Tokens of a stop string that was cut off, and the end-of-text
token, have no text but count as generated, and are listed with their log-probabilities.
"""

from __future__ import annotations

import codecs
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from lmlab.generation.choice import Scored
from lmlab.generation.writer import Reason
from lmlab.serve.requests import Asked
from lmlab.serve.scheduler import Event, PromptScored, Scoring
from lmlab.serve.served import Served, new_id

FINISH: dict[Reason, str] = {"length": "length", "stop": "stop", "end_of_text": "stop", "stopped": "stop"}


class Answer(ABC):
    """The answer to one request. `chunk` or `take` is called with every event, then `whole` or `end`."""

    kind: str
    prefix: str
    """Of its id."""

    def __init__(self, asked: Asked, served: Served) -> None:
        self.asked, self.served = asked, served
        self.generated = 0
        self._pieces: list[list[str]] = [[] for _ in range(asked.choices)]
        self._reasons: list[str | None] = [None if asked.sampling else "length"] * asked.choices
        self._head = {"id": new_id(self.prefix), "created": int(time.time()), "model": served.name}

    def scorings(self) -> list[Scoring]:
        """Return the prompts whose log-probabilities the answer needs."""
        return []

    def begin(self) -> list[dict[str, Any]]:
        """Return the chunks before the first token."""
        return []

    @abstractmethod
    def take(self, event: Event) -> list[dict[str, Any]]:
        """Add an event; return the choices of its chunk, none if it changes nothing that is shown."""

    @abstractmethod
    def choices(self) -> list[dict[str, Any]]:
        """Return the choices of the whole answer."""

    def chunk(self, event: Event) -> dict[str, Any] | None:
        """Add an event; return its chunk."""
        choices = self.take(event)
        return self._chunk(choices) if choices else None

    def end(self) -> dict[str, Any] | None:
        """Return the last chunk, with the number of tokens, if it was asked for."""
        return {**self._chunk([]), "usage": self.usage()} if self.asked.usage else None

    def whole(self) -> dict[str, Any]:
        """Return the answer in one object."""
        return {**self._object(self.kind), "choices": self.choices(), "usage": self.usage()}

    def usage(self) -> dict[str, int]:
        """Return the numbers of tokens."""
        prompts = sum(map(len, self.asked.prompts))
        return {
            "prompt_tokens": prompts,
            "completion_tokens": self.generated,
            "total_tokens": prompts + self.generated,
        }

    def _object(self, kind: str) -> dict[str, Any]:
        return {**self._head, "object": kind, "system_fingerprint": self.served.fingerprint}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        usage = {"usage": None} if self.asked.usage else {}
        return {**self._object(self.chunk_kind), "choices": choices, **usage}

    @property
    def chunk_kind(self) -> str:
        """The kind of a chunk's object."""
        return self.kind


class CompletionAnswer(Answer):
    """The answer of /v1/completions."""

    kind, prefix = "text_completion", "cmpl"

    def __init__(self, asked: Asked, served: Served) -> None:
        super().__init__(asked, served)
        self._lists = [TokenList(served) for _ in range(asked.choices)]

    def scorings(self) -> list[Scoring]:
        """See `Answer`: with `echo` and `logprobs`, all prompts."""
        if not self.asked.echo or self.asked.alternatives is None:
            return []
        return [
            Scoring(place=place, ids=self.served.whole(prompt), alternatives=self.asked.alternatives)
            for place, prompt in enumerate(self.asked.prompts)
        ]

    def begin(self) -> list[dict[str, Any]]:
        """See `Answer`: with `echo` the prompts, unless their log-probabilities are still to come."""
        if self.scorings():
            return []
        texts = [text for text in self.asked.texts for _ in range(self.asked.n)]
        if self.asked.echo:
            for pieces, text in zip(self._pieces, texts, strict=True):
                pieces.append(text)
        if not self.asked.echo and self.asked.sampling:
            return []
        return [
            self._chunk([self._choice(number, text if self.asked.echo else "", None, self._reasons[number])])
            for number, text in enumerate(texts)
        ]

    def take(self, event: Event) -> list[dict[str, Any]]:
        """See `Answer`."""
        if isinstance(event, PromptScored):
            return self._take_prompt(event)
        number, written = event.choice, event.written
        self.generated += 1
        self._pieces[number].append(written.piece)
        if event.reason is not None:
            self._reasons[number] = FINISH[event.reason]
        listed = None if written.scored is None else self._lists[number].add([written.scored])
        if not written.piece and listed is None and event.reason is None:
            return []
        return [self._choice(number, written.piece, listed, self._reasons[number])]

    def choices(self) -> list[dict[str, Any]]:
        """See `Answer`."""
        logprobs = self.asked.alternatives is not None
        return [
            self._choice(number, "".join(pieces), self._lists[number].all if logprobs else None, self._reasons[number])
            for number, pieces in enumerate(self._pieces)
        ]

    def _take_prompt(self, event: PromptScored) -> list[dict[str, Any]]:
        """Add a prompt with its log-probabilities to the texts that begin with it."""
        prompt, scores = self.asked.prompts[event.place], list(event.scores)
        # Without a token before it, the first one has no probability.
        first = list(prompt[: len(prompt) - len(scores)])
        found = []
        for number in range(event.place * self.asked.n, (event.place + 1) * self.asked.n):
            listed = self._lists[number].add(scores, first)
            text = self.asked.texts[event.place]
            self._pieces[number].append(text)
            found.append(self._choice(number, text, listed, self._reasons[number]))
        return found

    @staticmethod
    def _choice(number: int, text: str, logprobs: dict[str, list[Any]] | None, reason: str | None) -> dict[str, Any]:
        return {"index": number, "text": text, "logprobs": logprobs, "finish_reason": reason}


class ChatAnswer(Answer):
    """The answer of /v1/chat/completions."""

    kind, prefix = "chat.completion", "chatcmpl"
    chunk_kind = "chat.completion.chunk"

    def __init__(self, asked: Asked, served: Served) -> None:
        super().__init__(asked, served)
        self._listed: list[list[dict[str, Any]]] = [[] for _ in range(asked.choices)]

    def begin(self) -> list[dict[str, Any]]:
        """See `Answer`: the role of each choice."""
        delta = {"role": "assistant", "content": ""}
        return [
            self._chunk([{"index": number, "delta": delta, "logprobs": None, "finish_reason": None}])
            for number in range(self.asked.choices)
        ]

    def take(self, event: Event) -> list[dict[str, Any]]:
        """See `Answer`."""
        assert not isinstance(event, PromptScored)
        number, written = event.choice, event.written
        self.generated += 1
        self._pieces[number].append(written.piece)
        if event.reason is not None:
            self._reasons[number] = FINISH[event.reason]
        listed = [] if written.scored is None else [self._entry(written.scored)]
        self._listed[number] += listed
        if not written.piece and not listed and event.reason is None:
            return []
        delta = {"content": written.piece} if written.piece else {}
        logprobs = self._logprobs(listed)
        return [{"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": self._reasons[number]}]

    def choices(self) -> list[dict[str, Any]]:
        """See `Answer`."""
        return [
            {
                "index": number,
                "message": {"role": "assistant", "content": "".join(pieces), "refusal": None},
                "logprobs": self._logprobs(self._listed[number]),
                "finish_reason": self._reasons[number],
            }
            for number, pieces in enumerate(self._pieces)
        ]

    def _logprobs(self, listed: list[dict[str, Any]]) -> dict[str, Any] | None:
        return None if self.asked.alternatives is None else {"content": listed, "refusal": None}

    def _entry(self, scored: Scored) -> dict[str, Any]:
        entry = self._named(scored.token, scored.logprob)
        entry["top_logprobs"] = [self._named(token, logprob) for token, logprob in scored.alternatives]
        return entry

    def _named(self, token: int, logprob: float) -> dict[str, Any]:
        name, spelt = self.served.token_name(token), list(self.served.bytes_of(token))
        return {"token": name, "logprob": logprob, "bytes": spelt}


class TokenList:
    """The `logprobs` of a completion: its tokens, with the place in the text at which each begins."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.all: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        self._characters = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, scores: Sequence[Scored], first: Sequence[int] = ()) -> dict[str, list[Any]]:
        """Add tokens, before them those of `first` without a log-probability; return what was added."""
        new: dict[str, list[Any]] = {name: [] for name in self.all}
        for token in first:
            self._place(new, token, None, None)
        for one in scores:
            best = {self._served.token_name(token): logprob for token, logprob in reversed(one.alternatives)}
            best.setdefault(self._served.token_name(one.token), one.logprob)
            self._place(new, one.token, one.logprob, best)
        for name, values in new.items():
            self.all[name] += values
        return new

    def _place(
        self, new: dict[str, list[Any]], token: int, logprob: float | None, best: dict[str, float] | None
    ) -> None:
        values = (self._served.token_name(token), logprob, best, self._characters)
        for name, value in zip(new, values, strict=True):
            new[name].append(value)
        self._characters += len(self._decoder.decode(self._served.bytes_of(token)))
