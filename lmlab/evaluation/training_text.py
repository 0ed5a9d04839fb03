"""The text of a training split, read once in portions of bounded size, to look up in it what a model wrote or is asked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmlab.data.dataset import Dataset

QUICK_BYTES = 256_000_000
"""Training text up to this size is searched without being asked."""
TOKENS_A_TIME = 1 << 18


def is_quick(dataset: Dataset) -> bool:
    """Return whether the training split is small enough to be searched without being asked."""
    return training_bytes(dataset) <= QUICK_BYTES


def training_bytes(dataset: Dataset) -> int:
    """Return the bytes of the training split's text."""
    return int(dataset.document_bytes("train").sum())


def portions(dataset: Dataset, overlap: int) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Yield (text as uint8, offsets of its documents, whether it is the last) of the training split. A portion has `overlap`
    tokens in common with the next one, so that any sequence that is shorter is whole in one of them.
    """
    tokens, starts = dataset.tokens("train"), dataset.document_starts("train")
    sizes = dataset.token_bytes()
    for begin in range(0, len(tokens), TOKENS_A_TIME):
        end = min(begin + TOKENS_A_TIME + overlap, len(tokens))
        ids = tokens[begin:end].astype(np.int64)
        inside = (
            starts[np.searchsorted(starts, begin, side="right") : np.searchsorted(starts, end, side="left")] - begin
        )
        if sizes is None:
            texts = [dataset.tokenizer.decode_bytes(part) for part in np.split(ids, inside)]
            text, begins = b"".join(texts), np.cumsum([0, *map(len, texts[:-1])])
        else:
            text = dataset.tokenizer.decode_bytes(ids)
            begins = np.append(0, np.cumsum(sizes[ids], dtype=np.int64))[np.append(0, inside)]
        yield np.frombuffer(text, np.uint8), begins.astype(np.int64), end == len(tokens)
        if end == len(tokens):
            return
