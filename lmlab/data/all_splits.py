"""All splits of a data set as one, to score a whole text."""

from __future__ import annotations

import numpy as np

from lmlab.data.dataset import Dataset

ALL = "all"


class AllSplits(Dataset):
    """A data set with an additional split `all`: its splits concatenated, copied into memory."""

    def __init__(self, dataset: Dataset) -> None:
        """Wrap `dataset`, which is unchanged and available as `plain`."""
        self.plain = dataset
        super().__init__(dataset.folder, dataset.manifest, None if dataset.whole is dataset else dataset.whole)
        self._joined: dict[str, np.ndarray] = {}

    @property
    def parts(self) -> tuple[str, ...]:
        """The splits that `all` consists of, in order."""
        return super().splits

    @property
    def splits(self) -> tuple[str, ...]:
        """train, valid, test if present, and all."""
        return (*self.parts, ALL)

    def tokens(self, split: str) -> np.ndarray:
        """Return uint16 or uint32 [tokens] of a split."""
        if split != ALL:
            return super().tokens(split)
        if "tokens" not in self._joined:
            self._joined["tokens"] = np.concatenate([super(AllSplits, self).tokens(part) for part in self.parts])
        return self._joined["tokens"]

    def responses(self, split: str) -> np.ndarray:
        """Return bool [tokens]: the tokens of conversations that the model writes."""
        if split != ALL:
            return super().responses(split)
        if "responses" not in self._joined:
            joined = np.concatenate([super(AllSplits, self).responses(part) for part in self.parts])
            self._joined["responses"] = joined
        return self._joined["responses"]

    def document_starts(self, split: str) -> np.ndarray:
        """Return int64 [documents + 1]: the first token of each document, and the number of tokens."""
        if split != ALL:
            return super().document_starts(split)
        starts = [super(AllSplits, self).document_starts(part)[:-1] + begin for part, begin in self._begins()]
        return np.concatenate([*starts, [len(self.tokens(ALL))]]).astype("<i8")

    def units(self, split: str) -> np.ndarray:
        """Return structured [units]: key, bytes and start (the first token)."""
        if split != ALL:
            return super().units(split)
        joined = [np.array(super(AllSplits, self).units(part)) for part in self.parts]
        for units, (_, begin) in zip(joined, self._begins(), strict=True):
            units["start"] += begin
        return np.concatenate(joined)

    def unit_kind(self, split: str) -> str:
        """Return document or block; for `all`, block if any split has blocks."""
        kinds = {self.facts["splits"][part]["unit"] for part in (self.parts if split == ALL else (split,))}
        return "block" if "block" in kinds else "document"

    def _begins(self) -> list[tuple[str, int]]:
        """Return each split with the position in `all` of its first token."""
        sizes = [len(super(AllSplits, self).tokens(part)) for part in self.parts]
        return list(zip(self.parts, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
