"""One text in the making: its tokens, the window of them that the model reads, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmlab.data.tokenizers import Tokenizer
from lmlab.generation.draw import stream_key
from lmlab.generation.settings import Sampling
from lmlab.generation.stream import TextStream

Reason = Literal["length", "stop", "end_of_text", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What a model wrote after a prompt."""

    prompt: str
    text: str
    """Only what was written after the prompt, without the stop string that ended it."""
    tokens: int
    """Tokens drawn: also those of a stop string that was cut off, and an end of text."""
    seconds: float
    """From the start of the generation, of all prompts together, to the end of this text."""
    reason: Reason
    """length: as many tokens as asked; stop: a stop string; end_of_text: the model's end; stopped: by the caller."""


class Writer:
    """A prompt's tokens and those drawn after it.

    The window starts with the last `context` tokens of the prompt. A token that no longer fits moves its start, so that
    it goes on with the most recent half of the context.
    """

    def __init__(
        self, number: int, prompt: str, ids: Sequence[int], start: int, sample: int, context: int, sampling: Sampling
    ) -> None:
        """`ids` are the prompt's tokens; if there are none, `start` is read. `sample` counts equal prompts."""
        self.number = number
        self.prompt = prompt
        self.seen = set(ids)
        self.key = stream_key(sampling.seed, ids, sample)
        self.reason: Reason | None = None
        self.drawn = 0
        self._context = context
        self._limit = sampling.tokens
        self._window = list(ids[-context:]) or [start]
        self._stream = TextStream(sampling.stop)

    @property
    def window(self) -> list[int]:
        """The tokens that the next one is predicted from."""
        return self._window

    @property
    def most_read(self) -> int:
        """The longest that the window can become."""
        return min(self._context, len(self._window) + self._limit - self.drawn)

    def take(self, token: int, tokenizer: Tokenizer) -> tuple[str, bool]:
        """Add a drawn token; the text that is now certain, and whether the window moved."""
        self.drawn += 1
        self.seen.add(token)
        self._window.append(token)
        moved = len(self._window) > self._context
        if moved:
            self._window = self._window[-(self._context // 2) :]
        if token == tokenizer.end_of_text:
            return self.end("end_of_text"), moved
        piece = self._stream.write(tokenizer.decode_bytes([token]))
        if self._stream.stopped:
            self.reason = "stop"
        elif self.drawn == self._limit:
            piece += self.end("length")
        return piece, moved

    def end(self, reason: Reason) -> str:
        """End the text here; what was held back of it."""
        self.reason = reason
        return self._stream.close()

    def completion(self, seconds: float) -> Completion:
        """What was written; the text has ended."""
        assert self.reason is not None
        return Completion(
            prompt=self.prompt, text=self._stream.text, tokens=self.drawn, seconds=seconds, reason=self.reason
        )
