"""Text generation by the CPU engine: many tokens a call, sampled in C++.

A decoder has rows, one for each text. `start` sets a row's text, `write` samples the next tokens: the same ones that
`lmlab.generation` samples from the same logits with the same uniform numbers and settings.
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
    "lmlab_decoder_append": [POINTER, POINTER, INT, POINTER],
    "lmlab_decoder_write": [POINTER, POINTER, INT, POINTER, POINTER, INT, POINTER, POINTER, POINTER],
    "lmlab_draw": [POINTER, POINTER, POINTER, ctypes.c_double, POINTER],
}


class Settings(ctypes.Structure):
    """Sampling settings: fields of `lmlab.generation.settings.Sampling`, how many tokens to sample from, and the end of text."""

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
    """Generates `rows` texts with windows of at most `length` tokens, with the weights as of its creation or last `refresh`."""

    def __init__(self, engine: Engine, rows: int, length: int, draft: int = 0) -> None:
        """`draft` is the maximum number of draft tokens, for whose logits memory is allocated."""
        shape = engine.shape
        if not 1 <= length <= shape.context:
            raise LabError(f"a decoder of {length} tokens: expected 1 to the model's context of {shape.context}")
        self._engine = engine
        self.library = engine.library
        self._vocabulary: int = shape.vocabulary
        self._context: int = shape.context
        self.rows, self.length, self.draft = rows, length, draft
        self._lock = engine.lock
        declare(self.library, SIGNATURES)
        with self._lock:
            self._handle: int | None = opened(self.library.lmlab_decoder_open, engine.handle, rows, length, draft)
        self._version = engine.version

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.library.lmlab_decoder_close(self._handle)
            self._handle = None

    @property
    def weights(self) -> int:
        """Number of weights that each token is multiplied with."""
        shape = self._engine.shape
        heads = 2 * shape.heads + 2 * shape.key_heads
        layer = shape.width * (heads * shape.head_width + shape.up + shape.hidden)
        return int(shape.layers * layer + shape.vocabulary * shape.width)

    def refresh(self) -> None:
        """Reload the weights if they have changed; every row must be started again."""
        if self._version != self._engine.version:
            with self._lock:
                self.library.lmlab_decoder_refresh(self._handle)
            self._version = self._engine.version

    def release(self) -> None:
        """Return this decoder to its engine for reuse by `decoder_of`; the caller must not use it any more."""
        self._engine.spare_decoder = self

    def start(self, row: int, window: Sequence[int], text: Sequence[int], tokens: int) -> None:
        """Start a row: `window` predicts the next token, `text` is all tokens so far, `tokens` is how many will be generated."""
        if not 1 <= len(window) <= self.length or (
            self.length < self._context and len(window) + tokens > self.length + 1
        ):
            raise LabError(f"{len(window)} + {tokens} tokens: the decoder holds at most {self.length}")
        window_ids, text_ids = self._ids(window, np.int64), self._ids(text, np.int32)
        with self._lock:
            self.library.lmlab_decoder_start(
                self._handle, row, window_ids.ctypes.data, len(window), text_ids.ctypes.data, len(text), tokens
            )

    def copy(self, source: int, target: int) -> None:
        """Copy the cache of row `source` to row `target`, whose window must begin with the same tokens."""
        with self._lock:
            self.library.lmlab_decoder_copy(self._handle, source, target)

    def read(self, rows: Sequence[int]) -> None:
        """Read the windows of these rows, except for their last tokens."""
        chosen = np.array(rows, dtype=np.int32)
        with self._lock:
            self.library.lmlab_decoder_read(self._handle, chosen.ctypes.data, len(rows))

    def logits(self, rows: Sequence[int]) -> Float[NDArray[np.float32], "rows vocabulary"]:
        """Return the logits of the token after each row's window."""
        chosen = np.array(rows, dtype=np.int32)
        found = np.empty((len(rows), self._vocabulary), dtype=np.float32)
        with self._lock:
            self.library.lmlab_decoder_logits(self._handle, chosen.ctypes.data, len(rows), found.ctypes.data)
        return found

    def append(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Add one token to each of these (different) rows, whose `logits` were the last thing computed for them.

        A full window is cut to the more recent half of the context; LabError if the decoder's windows are shorter than that.
        """
        if self.length < self._context:
            raise LabError(f"a decoder of {self.length} tokens: expected windows of the whole context, {self._context}")
        chosen, added = np.array(rows, dtype=np.int32), self._ids(tokens, np.int32)
        with self._lock:
            self.library.lmlab_decoder_append(self._handle, chosen.ctypes.data, len(rows), added.ctypes.data)

    def write(
        self, rows: Sequence[int], settings: Settings, uniforms: Float[NDArray[np.float64], "rows tokens"]
    ) -> list[list[int]] | None:
        """Sample the next tokens of each of these (different) rows: one per uniform number, fewer if the text ends.

        A full window is cut to the more recent half of the context. Return None if the logits aren't finite.
        """
        if not 1 <= settings.vocabulary <= self._vocabulary:
            raise LabError(f"{settings.vocabulary} tokens to draw from: expected 1 to {self._vocabulary}")
        chosen = np.array(rows, dtype=np.int32)
        drawn = np.empty(uniforms.shape, dtype=np.int32)
        written = np.zeros(len(rows), dtype=np.int32)
        finite = ctypes.c_int()
        with self._lock:
            self.library.lmlab_decoder_write(
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
    """Return a decoder with the engine's current weights: the released one if its sizes match, else a new one.

    Reuse saves allocation, which for a small model takes as long as generating a hundred tokens.
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
    """Return the token that a decoder samples from these logits; -1 if they aren't finite. `seen` are the tokens so far."""
    declare(library, SIGNATURES)
    marks = np.zeros(len(logits), dtype=np.uint8)
    marks[list(seen)] = 1
    changed, token = logits.copy(), ctypes.c_int()
    library.lmlab_draw(changed.ctypes.data, marks.ctypes.data, ctypes.byref(settings), uniform, ctypes.byref(token))
    return token.value
