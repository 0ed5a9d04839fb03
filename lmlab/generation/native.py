"""Batched text generation by the CPU engine, many tokens at a time.

Random numbers and tokens are exchanged with Python once per chunk of tokens. Chunks begin small, so that the first words appear at
once, and stay small enough that few tokens are wasted after a stop string or a stop request; without a listener they begin large.
No token depends on the chunk size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmlab.generation.draw import diverged, uniforms
from lmlab.generation.settings import Sampling
from lmlab.generation.writer import Writer
from lmlab.model.gpt import GPTModel
from lmlab.model.native import native_engine
from lmlab.model.protocol import LanguageModel
from lmlab.native.decoder import Decoder, Settings, decoder_of

FIRST_CHUNK, LARGEST_CHUNK, UNWATCHED_CHUNK = 4, 64, 256
WEIGHTS_A_CHUNK = 1 << 28
"""Maximum number of weights that a chunk reads, 1 GB: some hundredths of a second."""
ROWS_FOR_A_READING = 4
"""This number of texts takes about twice as long as one text, which is bound by the memory bandwidth of reading the weights."""


class NativeTexts:
    """Writers, and the decoder with the cache of their windows; a text keeps its row."""

    def __init__(self, decoder: Decoder, writers: Sequence[Writer], settings: Settings, watched: bool) -> None:
        """Read the windows, equal ones once. `watched`: whether the caller receives pieces of text, or may stop the generation."""
        self._decoder = decoder
        self._writers = list(writers)
        self._settings = settings
        readings = max(1, len(self._writers) // ROWS_FOR_A_READING)
        largest = LARGEST_CHUNK if watched else UNWATCHED_CHUNK
        self._most = min(largest, max(1, WEIGHTS_A_CHUNK // (decoder.weights * readings)))
        self._chunk = min(FIRST_CHUNK, self._most) if watched else self._most
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, writer in enumerate(self._writers):
            decoder.start(row, writer.window, writer.text, writer.left)
            rows.setdefault(tuple(writer.window), []).append(row)
        shared = [same for same in rows.values() if len(same) > 1]
        decoder.read([same[0] for same in shared])
        for first, *others in shared:
            for other in others:
                decoder.copy(first, other)

    def write(self) -> list[tuple[Writer, list[int]]]:
        """Return the next tokens of each text that hasn't ended; the writers must take them before the next call."""
        rows = [row for row, writer in enumerate(self._writers) if writer.reason is None]
        if not rows:
            self._decoder.release()
            return []
        writers = [self._writers[row] for row in rows]
        count = min(self._chunk, *(writer.left for writer in writers))
        self._chunk = min(2 * self._chunk, self._most)
        numbers = np.zeros((len(rows), count))
        if self._settings.temperature:
            for row, writer in enumerate(writers):
                numbers[row] = uniforms(writer.key, writer.drawn, count)
        written = self._decoder.write(rows, self._settings, numbers)
        if written is None:
            raise diverged()
        return list(zip(writers, written, strict=True))


def native_texts(
    model: LanguageModel, writers: Sequence[Writer], vocabulary: int, sampling: Sampling, watched: bool
) -> NativeTexts | None:
    """Return the texts of these writers in the CPU engine, with tokens below `vocabulary`; None if it doesn't support the model."""
    decoder = decoder_for(model, len(writers), max(writer.most_read for writer in writers), sampling.draft)
    if decoder is None:
        return None
    settings = Settings(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        top_k=sampling.top_k,
        vocabulary=vocabulary,
        end_of_text=-1 if writers[0].end_of_text is None else writers[0].end_of_text,
        draft=sampling.draft,
    )
    return NativeTexts(decoder, writers, settings, watched)


def decoder_for(model: LanguageModel, rows: int, length: int, draft: int = 0) -> Decoder | None:
    """Return a decoder of `rows` windows of at most `length` tokens; None if the CPU engine doesn't support the model.

    That is if the model isn't a GPT in float32 on the CPU, or the machine has no engine; `lmlab.native.load()` has the reason.
    """
    engine = native_engine(model) if isinstance(model, GPTModel) else None
    return None if engine is None else decoder_of(engine, rows, length, draft)
