"""The tokenizer of a data set of shards: the same for every budget, since it learns from the corpus's first documents only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lmlab.data import manifest as shape
from lmlab.data.documents import ReadingFindings
from lmlab.data.progress import Progress
from lmlab.data.shards.encoding import TRAIN, ShardSettings, kept_documents
from lmlab.data.shards.rows import Place, Shards
from lmlab.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from lmlab.data.tokenizers.kinds import KINDS
from lmlab.files import read_json, write_json
from lmlab.recipe import Data

TOKENIZER_CHARACTERS = 1 << 26
"""Text of the training documents that a tokenizer is trained on, and whose characters it knows."""


def shards_tokenizer(
    data: Data,
    name: str,
    shards: Shards,
    settings: ShardSettings,
    work: Path,
    progress: Progress,
    given: Tokenizer | None,
) -> Tokenizer:
    """Return the given tokenizer, the one that an earlier process left in the work folder, or a new one for corpus `name`."""
    path = work / shape.TOKENIZER
    if given is None and path.exists():
        return load_tokenizer(read_json(path))
    tokenizer = given
    if tokenizer is None:
        texts = _first_texts(data, name, shards, settings, progress)
        tokenizer = build_tokenizer(data, texts, documents_end=True)
    write_json(path, tokenizer.to_json())
    return tokenizer


def _first_texts(data: Data, name: str, shards: Shards, settings: ShardSettings, progress: Progress) -> Iterator[str]:
    """Yield what a tokenizer learns from: the first TOKENIZER_CHARACTERS characters of the training documents, or the alphabet of
    these and of the validation documents. Nothing is read if it takes nothing.
    """
    progress.begin(f"reading the first documents of {name} for the tokenizer", TOKENIZER_CHARACTERS)
    reads_text, left = KINDS[data.tokenizer].reads_text, TOKENIZER_CHARACTERS
    alphabet: set[str] = set()
    for document in kept_documents(shards, settings, Place(), 0, lambda: 1.0, ReadingFindings()):
        is_training = document.split == TRAIN
        for text in document.pieces:
            if not reads_text:
                alphabet.update(text)
            elif is_training:
                yield text
        if is_training:
            left -= document.characters
            progress.advance(document.characters)
        if left <= 0:
            break
    if not reads_text:
        yield "".join(sorted(alphabet))
