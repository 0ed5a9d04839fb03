"""The state of one text during generation: its tokens, the window of them that the model reads, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmlab.generation.draw import stream_key
from lmlab.generation.settings import Sampling
from lmlab.generation.spelling import Spelling
from lmlab.generation.stream import TextStream

Reason = Literal["length", "stop", "end_of_text", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A model's completion of a prompt."""

    prompt: str
    text: str
    """The text after the prompt, without the stop string that ended it."""
    tokens: int
    """Number of sampled tokens, including those of a stop string that was cut off, and the end-of-text token."""
    seconds: float
    """Seconds from the start of the call, which generates all prompts together, to the end of this text."""
    reason: Reason
    """length: the requested number of tokens; stop: a stop string; end_of_text: the end-of-text token; stopped: by the caller."""


class Writer:
    """A prompt's tokens and those sampled after it.

    The window begins as the last `context` tokens of the prompt. When a token doesn't fit any more, the window is cut to the most
    recent half of the context.
    """

    def __init__(
        self,
        number: int,
        prompt: str,
        ids: Sequence[int],
        start: int,
        sample: int,
        context: int,
        sampling: Sampling,
        spelling: Spelling,
    ) -> None:
        """`ids` are the prompt's tokens; if there are none, the window is `start`. `sample` counts equal prompts from 0."""
        self.number = number
        self.prompt = prompt
        self.text = list(ids)
        self.seen = set(ids)
        self.window = list(ids[-context:]) or [start]
        self.moves = 0
        self.key = stream_key(sampling.seed, ids, sample)
        self.reason: Reason | None = None
        self.drawn = 0
        self._context = context
        self._limit = sampling.tokens
        self._spelling = spelling
        self._stream = TextStream(sampling.stop)

    @property
    def end_of_text(self) -> int | None:
        """The token that ends the text; None if there is none."""
        return self._spelling.end_of_text

    @property
    def left(self) -> int:
        """Number of tokens that may still be sampled."""
        return self._limit - self.drawn

    @property
    def most_read(self) -> int:
        """Maximum length of the window."""
        return min(self._context, len(self.window) + self.left)

    def take(self, tokens: Sequence[int]) -> str:
        """Add sampled tokens up to the one that ends the text; return the text that is now final.

        Only the last of them may be the end-of-text token. Tokens after a stop string are ignored.
        """
        if not self._stream.stop:
            return self._add(tokens)
        # One by one, to know which token completes a stop string.
        pieces = []
        for token in tokens:
            pieces.append(self._add([token]))
            if self.reason is not None:
                break
        return "".join(pieces)

    def _add(self, tokens: Sequence[int]) -> str:
        self.drawn += len(tokens)
        self.text.extend(tokens)
        self.seen.update(tokens)
        self.window.extend(tokens)
        while len(self.window) > self._context:
            # The token that no longer fits is the last of the recent half.
            del self.window[: self._context + 1 - self._context // 2]
            self.moves += 1
        ended = tokens[-1] == self.end_of_text
        piece = self._stream.write(self._spelling.bytes_of(tokens[:-1] if ended else tokens))
        if self._stream.stopped:
            self.reason = "stop"
        elif ended:
            piece += self.end("end_of_text")
        elif self.left == 0:
            piece += self.end("length")
        return piece

    def end(self, reason: Reason) -> str:
        """End the text here; return the part that was held back."""
        self.reason = reason
        return self._stream.close()

    def completion(self, seconds: float) -> Completion:
        """Return the completion of a text that has ended."""
        assert self.reason is not None
        return Completion(
            prompt=self.prompt, text=self._stream.text, tokens=self.drawn, seconds=seconds, reason=self.reason
        )
