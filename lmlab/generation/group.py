"""Batched text generation by a model in PyTorch, with one key-value cache per group of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmlab.generation.draw import draw, likeliest, uniform
from lmlab.generation.filters import filtered, penalise_repeats
from lmlab.generation.lookup import Lookup
from lmlab.generation.settings import Sampling
from lmlab.generation.writer import Writer
from lmlab.model.gpt import GPTModel
from lmlab.model.protocol import LanguageModel


class Texts:
    """All texts of a batch, divided into groups: a text whose window has moved joins a new group, which reads its window again."""

    def __init__(self, model: LanguageModel, writers: Sequence[Writer], vocabulary: int, sampling: Sampling) -> None:
        """`vocabulary` is the number of tokens to sample from: a model's head may have more rows than the tokenizer has tokens."""
        self._groups = [Group(model, writers, vocabulary, sampling)]

    def write(self) -> list[tuple[Writer, list[int]]]:
        """Return the next tokens of each text that hasn't ended; the writers must take them before the next call."""
        self._groups = [rest for group in self._groups for rest in group.divided()]
        return [pair for group in self._groups for pair in zip(group.writers, group.write(), strict=True)]


class Group:
    """Writers, and the cache of their windows' tokens that the model has read."""

    def __init__(self, model: LanguageModel, writers: Sequence[Writer], vocabulary: int, sampling: Sampling) -> None:
        """Create a group without a cache; the first `write` reads the windows."""
        self.writers = list(writers)
        self._model = model
        self._vocabulary = vocabulary
        self._sampling = sampling
        self._moves = [writer.moves for writer in self.writers]
        self._lookups = [Lookup() for _ in self.writers]
        self._cache: Any = None

    def divided(self) -> list[Group]:
        """Return the unfinished texts as up to two groups: this one, and a new one of texts whose window has moved."""
        living = [row for row, writer in enumerate(self.writers) if writer.reason is None]
        moved = [self.writers[row] for row in living if self.writers[row].moves > self._moves[row]]
        staying = [row for row in living if self.writers[row].moves == self._moves[row]]
        if 0 < len(staying) < len(self.writers):
            self.writers = [self.writers[row] for row in staying]
            self._moves = [self._moves[row] for row in staying]
            self._lookups = [self._lookups[row] for row in staying]
            self._cache.select(staying)
        new = Group(self._model, moved, self._vocabulary, self._sampling)
        return [group for group, some in ((self, staying), (new, moved)) if some]

    def write(self) -> list[list[int]]:
        """Read the new tokens of each window and sample the next: one token of each text, more if draft tokens are accepted."""
        if self._cache is None:
            return [[token] for token in self._draw(self._read_windows(), [[] for _ in self.writers])]
        drafts = self._drafts()
        last = [[writer.window[-1], *draft] for writer, draft in zip(self.writers, drafts, strict=True)]
        lengths = [len(tokens) for tokens in last]
        padded = [tokens + [0] * (max(lengths) - len(tokens)) for tokens in last]
        tokens = torch.tensor(padded, device=self._model.device)
        if max(lengths) == 1:
            return [[token] for token in self._draw(self._model.advance(tokens, self._cache), drafts)]
        return self._check(tokens, drafts)

    def _drafts(self) -> list[list[int]]:
        """Return the draft tokens of each text, at most as many as fit its cache."""
        if not self._sampling.draft or not isinstance(self._model, GPTModel):
            return [[] for _ in self.writers]
        available = self._cache.length - max(self._cache.held) - 1
        return [
            lookup.draft(writer.text, min(self._sampling.draft, available, writer.left - 1))
            for writer, lookup in zip(self.writers, self._lookups, strict=True)
        ]

    def _check(self, tokens: Tensor, drafts: list[list[int]]) -> list[list[int]]:
        """Read last tokens and drafts in one pass, sample after each of them, and keep what plain decoding would sample."""
        assert isinstance(self._model, GPTModel)
        stream = self._model.continued(tokens, self._cache)
        kept = [stream[row, : len(draft) + 1] for row, draft in enumerate(drafts)]
        drawn = self._draw(self._model.logits(torch.cat(kept).unsqueeze(0)).squeeze(0), drafts)
        found = []
        for writer, draft in zip(self.writers, drafts, strict=True):
            own, drawn = drawn[: len(draft) + 1], drawn[len(draft) + 1 :]
            right = 0
            while right < len(draft) and own[right] == draft[right] != writer.end_of_text:
                right += 1
            found.append(own[: right + 1])
        # Cache entries after a rejected draft token are overwritten by the next tokens.
        self._cache.advance(tokens, [len(some) for some in found])
        return found

    def _draw(self, logits: Tensor, drafts: Sequence[Sequence[int]]) -> list[int]:
        """Sample the token after each text, and after each of its draft tokens; `logits` has a row for each, in this order."""
        logits = logits[:, : self._vocabulary].float()
        sampling = self._sampling
        places = [
            (writer, draft, ahead)
            for writer, draft in zip(self.writers, drafts, strict=True)
            for ahead in range(len(draft) + 1)
        ]
        seen = torch.zeros(logits.shape, dtype=torch.bool)
        if sampling.repetition_penalty != 1.0:
            for row, (writer, draft, ahead) in enumerate(places):
                seen[row, [*writer.seen, *draft[:ahead]]] = True
        seen = seen.to(logits.device)
        if sampling.temperature == 0.0:
            return likeliest(penalise_repeats(logits, seen, sampling.repetition_penalty)).tolist()
        uniforms = [uniform(writer.key, writer.drawn + ahead) for writer, _, ahead in places]
        return draw(filtered(logits, seen, sampling), uniforms).tolist()

    def _read_windows(self) -> Tensor:
        # Equal windows, as of samples of one prompt, are read once.
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
