"""Corpora, tokenizers, the token store, batch order and hygiene: from a file or a catalogue name to token files.

    prepare(Data(corpus="shakespeare", tokenizer="characters")).tokens("train")

Names are looked up on first use, so that importing this package imports neither tokenizers nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.data.catalogue import CATALOGUE
    from lmlab.data.corpus import Corpus, open_corpus
    from lmlab.data.dataset import Dataset, find_dataset, list_datasets, open_dataset
    from lmlab.data.extending import Extension, extend
    from lmlab.data.preparation import prepare, prepared

__all__ = [
    "CATALOGUE",
    "Corpus",
    "Dataset",
    "Extension",
    "extend",
    "find_dataset",
    "list_datasets",
    "open_corpus",
    "open_dataset",
    "prepare",
    "prepared",
]

__getattr__ = lazily(
    __name__,
    {
        "CATALOGUE": "catalogue",
        "Corpus": "corpus",
        "Dataset": "dataset",
        "Extension": "extending",
        "extend": "extending",
        "find_dataset": "dataset",
        "list_datasets": "dataset",
        "open_corpus": "corpus",
        "open_dataset": "dataset",
        "prepare": "preparation",
        "prepared": "preparation",
    },
)
