"""Texts that a model reads side by side, with one key-value cache, a token of each at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmlab.generation.writer import Writer
from lmlab.model import LanguageModel


class Group:
    """Writers and the cache of what the model has read of their windows."""

    def __init__(self, model: LanguageModel, writers: Sequence[Writer]) -> None:
        """Nothing is read yet."""
        self.writers = list(writers)
        self._model = model
        self._cache: Any = None

    def logits(self) -> Tensor:
        """Read what is new in each window; logits of the token after it, `rows vocabulary`."""
        if self._cache is None:
            return self._read_windows()
        last = torch.tensor([writer.window[-1:] for writer in self.writers], device=self._model.device)
        return self._model.advance(last, self._cache)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these of the writers."""
        if len(rows) < len(self.writers):
            self.writers = [self.writers[row] for row in rows]
            self._cache.select(rows)

    def _read_windows(self) -> Tensor:
        # Samples of one prompt read it once.
        windows = [tuple(writer.window) for writer in self.writers]
        different = {window: row for row, window in enumerate(dict.fromkeys(windows))}
        lengths = [len(window) for window in different]
        padded = [list(window) + [0] * (max(lengths) - len(window)) for window in different]
        self._cache = self._model.start_cache(len(different), max(writer.most_read for writer in self.writers))
        logits = self._model.advance(torch.tensor(padded, device=self._model.device), self._cache, lengths)
        rows = [different[window] for window in windows]
        if len(different) == len(rows):
            return logits
        self._cache.select(rows)
        return logits[rows]
