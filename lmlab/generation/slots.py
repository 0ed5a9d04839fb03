"""The logits of texts that join and leave a batch between any two tokens, by PyTorch or the CPU engine.

`logits(writers)` returns the logits of the token after each writer's text. A writer that wasn't named in the previous call joins,
and its window is read; equal windows are read once. One that isn't named any more leaves. Each of the others must have taken one
token since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from lmlab.generation.choice import Text, biased, next_tokens
from lmlab.generation.draw import diverged, uniform
from lmlab.generation.native import decoder_for
from lmlab.generation.writer import Writer
from lmlab.model.protocol import LanguageModel
from lmlab.native.decoder import Decoder, Settings, draw


class Slots(Protocol):
    """What computes a batch."""

    def logits(self, writers: Sequence[Writer]) -> Tensor:
        """Return the logits after each of these (different) texts: [writers, vocabulary]."""

    def next_tokens(self, logits: Tensor, texts: Sequence[Text]) -> list[int]:
        """Return the token that follows each text, as `choice.next_tokens` does. LabError if the logits aren't finite."""


def slots_for(model: LanguageModel, rows: int) -> Slots:
    """Return slots for at most `rows` texts at a time, in the CPU engine if it supports the model."""
    decoder = decoder_for(model, rows, model.context)
    return TorchSlots(model) if decoder is None else NativeSlots(decoder)


class TorchSlots:
    """Texts that PyTorch computes, in one cache; a text whose window has moved joins again."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._cache: Any = None
        self._writers: list[Writer] = []
        self._moves: list[int] = []

    def logits(self, writers: Sequence[Writer]) -> Tensor:
        """See `Slots`."""
        self._keep(set(writers))
        found = []
        if self._writers:
            last = torch.tensor([[writer.text[-1]] for writer in self._writers], device=self._model.device)
            found.append(self._model.advance(last, self._cache))
        held = set(self._writers)
        new = [writer for writer in writers if writer not in held]
        if new:
            found.append(self._read(new))
        row_of = {writer: row for row, writer in enumerate(self._writers)}
        order = [row_of[writer] for writer in writers]
        logits = found[0] if len(found) == 1 else torch.cat(found)
        return logits if order == list(range(len(order))) else logits[order]

    def next_tokens(self, logits: Tensor, texts: Sequence[Text]) -> list[int]:
        """See `Slots`."""
        return next_tokens(logits, texts)

    def _keep(self, writers: set[Writer]) -> None:
        """Keep the rows of these writers whose window hasn't moved."""
        rows = [
            row
            for row, (writer, moves) in enumerate(zip(self._writers, self._moves, strict=True))
            if writer in writers and writer.moves == moves
        ]
        if len(rows) == len(self._writers):
            return
        if rows:
            self._cache.select(rows)
        else:
            self._cache = None
        self._writers = [self._writers[row] for row in rows]
        self._moves = [self._moves[row] for row in rows]

    def _read(self, new: Sequence[Writer]) -> Tensor:
        """Read the windows of writers that join; return the logits after them."""
        different, rows = _distinct(new)
        lengths = [len(window) for window in different]
        padded = [list(window) + [0] * (max(lengths) - len(window)) for window in different]
        cache = self._model.start_cache(len(different), self._model.context)
        logits = self._model.advance(torch.tensor(padded, device=self._model.device), cache, lengths)
        if len(different) < len(new):
            cache.select(rows)
            logits = logits[rows]
        if self._cache is None:
            self._cache = cache
        else:
            self._cache.join(cache)
        self._writers += new
        self._moves += [writer.moves for writer in new]
        return logits


class NativeSlots:
    """Texts that the CPU engine computes; a text keeps its row of the decoder until it leaves."""

    def __init__(self, decoder: Decoder) -> None:
        """`decoder` has windows of the whole context; its rows are the most texts at a time."""
        self._decoder = decoder
        self._row_of: dict[Writer, int] = {}
        self._free = list(range(decoder.rows))[::-1]

    def logits(self, writers: Sequence[Writer]) -> Tensor:
        """See `Slots`."""
        named = set(writers)
        for writer in [writer for writer in self._row_of if writer not in named]:
            self._free.append(self._row_of.pop(writer))
        rows = list(self._row_of.values())
        if rows:
            self._decoder.append(rows, [writer.text[-1] for writer in self._row_of])
        self._start([writer for writer in writers if writer not in self._row_of])
        return torch.from_numpy(self._decoder.logits([self._row_of[writer] for writer in writers]))

    def next_tokens(self, logits: Tensor, texts: Sequence[Text]) -> list[int]:
        """See `Slots`. By the engine's own sampling, which takes the same tokens as PyTorch's and doesn't wake its threads."""
        found = []
        for row, text in zip(biased(logits, texts).numpy(), texts, strict=True):
            sampling, writer = text.sampling, text.writer
            settings = Settings(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                min_p=sampling.min_p,
                repetition_penalty=sampling.repetition_penalty,
                top_k=sampling.top_k,
                vocabulary=len(row),
                end_of_text=-1,
                draft=0,
            )
            seen = writer.seen if sampling.repetition_penalty != 1.0 else set()
            number = uniform(writer.key, writer.drawn) if sampling.temperature else 0.0
            token = draw(self._decoder.library, row, seen, settings, number)
            if token < 0:
                raise diverged()
            found.append(token)
        return found

    def _start(self, new: Sequence[Writer]) -> None:
        different, places = _distinct(new)
        firsts: dict[int, int] = {}
        for writer, place in zip(new, places, strict=True):
            row = self._row_of[writer] = self._free.pop()
            self._decoder.start(row, writer.window, [], 0)
            if place in firsts:
                self._decoder.read([firsts[place]])
                self._decoder.copy(firsts[place], row)
            else:
                firsts[place] = row


def _distinct(writers: Iterable[Writer]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the different windows, and the place among them of each writer's."""
    windows = [tuple(writer.window) for writer in writers]
    place_of = {window: place for place, window in enumerate(dict.fromkeys(windows))}
    return list(place_of), [place_of[window] for window in windows]
