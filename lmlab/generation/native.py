"""Texts that the CPU engine reads and writes side by side, many tokens at a time.

Python is asked for random numbers and told tokens once a chunk. Chunks begin small, so that the first words come at
once, and stay small enough that a stop string, or the person who waits, wastes little; where nobody watches they begin
large. No token depends on their sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmlab.generation.draw import diverged, uniforms
from lmlab.generation.settings import Sampling
from lmlab.generation.writer import Writer
from lmlab.model import GPTModel, LanguageModel
from lmlab.model.native import native_engine
from lmlab.native.decoder import Decoder, Settings, decoder_of

FIRST_CHUNK, LARGEST_CHUNK, UNWATCHED_CHUNK = 4, 64, 256
WEIGHTS_A_CHUNK = 1 << 28
"""Weights that pass through the processor in a chunk, 1 GB of them: some hundredths of a second."""
ROWS_FOR_A_READING = 4
"""So many texts side by side take about twice as long as one, which only waits for the weights."""


class NativeTexts:
    """Writers and the decoder that holds what was read of their windows; a text keeps its row."""

    def __init__(self, decoder: Decoder, writers: Sequence[Writer], settings: Settings, watched: bool) -> None:
        """Samples of one prompt read it once. `watched`: somebody waits for the pieces, or may stop the writing."""
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
        """The next tokens of each text that hasn't ended; the writers take them before this is called again."""
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
    """The texts of these writers in the CPU engine, drawing tokens below `vocabulary`; None where it hasn't the model."""
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
    """A decoder of `rows` windows of at most `length` tokens; None where the CPU engine hasn't the model.

    That is for other models than a GPT, for one that isn't float32 on the CPU, and on a machine without the engine,
    where `lmlab.native.load()` has the reason.
    """
    engine = native_engine(model) if isinstance(model, GPTModel) else None
    return None if engine is None else decoder_of(engine, rows, length, draft)
