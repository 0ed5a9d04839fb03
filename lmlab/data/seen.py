"""Units of a text that occur, byte for byte, in the text that a model was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmlab.data.additions import document_keys
from lmlab.data.all_splits import AllSplits
from lmlab.data.dataset import Dataset
from lmlab.data.duplicates import shared_documents


def seen_units(dataset: AllSplits, split: str, trained: Dataset) -> NDArray[np.bool_]:
    """Return bool for each unit of a split: whether the training split of `trained` contains the same unit, or the document that it
    is in.

    Units are compared by their SHA-256. If one text has documents as units and the other blocks of bytes, whole documents
    are compared.
    """
    units = dataset.units(split)
    kind, trained_kind = dataset.unit_kind(split), trained.facts["splits"]["train"]["unit"]
    seen = np.zeros(len(units), dtype=bool)
    if kind == trained_kind:
        seen |= shared_documents([trained.units("train")["key"]], units["key"])
    if "block" in (kind, trained_kind):
        starts = dataset.document_starts(split)
        documents = shared_documents(document_keys(trained, "train"), _keys(dataset, split))
        seen |= documents[np.searchsorted(starts, units["start"], side="right") - 1]
    return seen


def _keys(dataset: AllSplits, split: str) -> NDArray[np.void]:
    """Return the SHA-256 of each document of a split, or of all."""
    parts = dataset.parts if split == "all" else (split,)
    return np.concatenate([np.asarray(keys) for part in parts for keys in document_keys(dataset, part)])
