"""Texts that the CPU engine reads and writes: many tokens a call, drawn in C++.

A decoder has rows, one a text. `start` gives a row its text, `write` draws what follows. What is drawn is what
`lmlab.generation` draws from the same logits with the same uniform numbers, by the same settings.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.native.calls import INT, POINTER, declare, opened
from lmlab.native.engine import Engine

SIGNATURES: dict[str, list[Any]] = {
    "lmlab_decoder_open": [POINTER, INT, INT, INT, POINTER],
    "lmlab_decoder_close": [POINTER],
    "lmlab_decoder_refresh": [POINTER],
    "lmlab_decoder_start": [POINTER, INT, POINTER, INT, POINTER, INT, INT],
    "lmlab_decoder_copy": [POINTER, INT, INT],
    "lmlab_decoder_read": [POINTER, POINTER, INT],
    "lmlab_decoder_logits": [POINTER, POINTER, INT, POINTER],
    "lmlab_decoder_write": [POINTER, POINTER, INT, POINTER, POINTER, INT, POINTER, POINTER, POINTER],
    "lmlab_draw": [POINTER, POINTER, POINTER, ctypes.c_double, POINTER],
}


class Settings(ctypes.Structure):
    """How a token is drawn: fields of `lmlab.generation.Sampling`, the tokens that may be drawn, and which one ends."""

    _fields_ = [
        ("temperature", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("min_p", ctypes.c_double),
        ("repetition_penalty", ctypes.c_double),
        ("top_k", ctypes.c_int32),
        ("vocabulary", ctypes.c_int32),
        ("end_of_text", ctypes.c_int32),  # -1: none
        ("draft", ctypes.c_int32),
    ]


class Decoder:
    """`rows` texts with windows of at most `length` tokens, and the model's weights as they were when last taken."""

    def __init__(self, engine: Engine, rows: int, length: int, draft: int = 0) -> None:
        """`draft`: how many tokens may be guessed ahead, so that there is room for their logits."""
        shape = engine.shape
        if not 1 <= length <= shape.context:
            raise LabError(f"a decoder of {length} tokens: expected 1 to the model's context of {shape.context}")
        self._engine = engine
        self._library = engine.library
        self._vocabulary: int = shape.vocabulary
        self._context: int = shape.context
        self.rows, self.length, self.draft = rows, length, draft
        self._lock = engine.lock
        declare(self._library, SIGNATURES)
        with self._lock:
            self._handle: int | None = opened(self._library.lmlab_decoder_open, engine.handle, rows, length, draft)
        self._version = engine.version

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.lmlab_decoder_close(self._handle)
            self._handle = None

    @property
    def weights(self) -> int:
        """How many weights each token is multiplied with."""
        shape = self._engine.shape
        heads = 2 * shape.heads + 2 * shape.key_heads
        layer = shape.width * (heads * shape.head_width + shape.up + shape.hidden)
        return int(shape.layers * layer + shape.vocabulary * shape.width)

    def refresh(self) -> None:
        """Take the weights as they are now, where they have changed; every row must be started anew."""
        if self._version != self._engine.version:
            with self._lock:
                self._library.lmlab_decoder_refresh(self._handle)
            self._version = self._engine.version

    def release(self) -> None:
        """Let `decoder_of` give this decoder to whoever asks next; it must not be used any more."""
        self._engine.spare_decoder = self

    def start(self, row: int, window: Sequence[int], text: Sequence[int], tokens: int) -> None:
        """Begin a row anew: what the next token is predicted from, all tokens so far, and how many will be written."""
        if not 1 <= len(window) <= self.length or (
            self.length < self._context and len(window) + tokens > self.length + 1
        ):
            raise LabError(f"{len(window)} + {tokens} tokens: the decoder has room for {self.length}")
        window_ids, text_ids = self._ids(window, np.int64), self._ids(text, np.int32)
        with self._lock:
            self._library.lmlab_decoder_start(
                self._handle, row, window_ids.ctypes.data, len(window), text_ids.ctypes.data, len(text), tokens
            )

    def copy(self, source: int, target: int) -> None:
        """Give row `target` what row `source` has read; its window must begin with those tokens."""
        with self._lock:
            self._library.lmlab_decoder_copy(self._handle, source, target)

    def read(self, rows: Sequence[int]) -> None:
        """Read the windows of these rows, except for their last tokens."""
        chosen = np.array(rows, dtype=np.int32)
        with self._lock:
            self._library.lmlab_decoder_read(self._handle, chosen.ctypes.data, len(rows))

    def logits(self, rows: Sequence[int]) -> Float[NDArray[np.float32], "rows vocabulary"]:
        """Logits of the token after each row's window."""
        chosen = np.array(rows, dtype=np.int32)
        found = np.empty((len(rows), self._vocabulary), dtype=np.float32)
        with self._lock:
            self._library.lmlab_decoder_logits(self._handle, chosen.ctypes.data, len(rows), found.ctypes.data)
        return found

    def write(
        self, rows: Sequence[int], settings: Settings, uniforms: Float[NDArray[np.float64], "rows tokens"]
    ) -> list[list[int]] | None:
        """The next tokens of each of these (different) rows: one for each uniform number, fewer at its end of text.

        A window that is full goes on from the newer half of the context. None where the logits are no finite numbers.
        """
        if not 1 <= settings.vocabulary <= self._vocabulary:
            raise LabError(f"{settings.vocabulary} tokens to draw from: expected 1 to {self._vocabulary}")
        chosen = np.array(rows, dtype=np.int32)
        drawn = np.empty(uniforms.shape, dtype=np.int32)
        written = np.zeros(len(rows), dtype=np.int32)
        finite = ctypes.c_int()
        with self._lock:
            self._library.lmlab_decoder_write(
                self._handle,
                chosen.ctypes.data,
                len(rows),
                ctypes.byref(settings),
                uniforms.ctypes.data,
                uniforms.shape[1],
                drawn.ctypes.data,
                written.ctypes.data,
                ctypes.byref(finite),
            )
        if not finite:
            return None
        return [row[:count].tolist() for row, count in zip(drawn, written, strict=True)]

    def _ids(self, tokens: Sequence[int], kind: type[np.signedinteger[Any]]) -> NDArray[Any]:
        ids = np.array(tokens, dtype=kind)
        if ids.size and not 0 <= ids.min() <= ids.max() < self._vocabulary:
            raise LabError(f"tokens {ids.min()} to {ids.max()}: expected 0 to {self._vocabulary - 1}")
        return ids


def decoder_of(engine: Engine, rows: int, length: int, draft: int = 0) -> Decoder:
    """A decoder with the engine's weights as they are now: the one that was given back last, where it is alike.

    Its memory is worth keeping: for a small model, having it anew takes as long as writing a hundred tokens.
    """
    with engine.lock:
        spare, engine.spare_decoder = engine.spare_decoder, None
    if isinstance(spare, Decoder) and (spare.rows, spare.length, spare.draft) == (rows, length, draft):
        spare.refresh()
        return spare
    return Decoder(engine, rows, length, draft)


def draw(
    library: ctypes.CDLL,
    logits: Float[NDArray[np.float32], " vocabulary"],
    seen: set[int],
    settings: Settings,
    uniform: float,
) -> int:
    """The token that a decoder draws from these logits; -1 where they are no numbers. `seen`: tokens that stood before."""
    declare(library, SIGNATURES)
    marks = np.zeros(len(logits), dtype=np.uint8)
    marks[list(seen)] = 1
    changed, token = logits.copy(), ctypes.c_int()
    library.lmlab_draw(changed.ctypes.data, marks.ctypes.data, ctypes.byref(settings), uniform, ctypes.byref(token))
    return token.value
