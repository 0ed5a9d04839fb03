"""The tokenizer of a data set of shards: the same for every budget, since it learns from the corpus's first documents only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lmlab.data import manifest as shape
from lmlab.data.documents import ReadingFindings
from lmlab.data.shards.encoding import TRAIN, kept_documents
from lmlab.data.shards.request import Request
from lmlab.data.shards.rows import Place, Shards
from lmlab.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from lmlab.data.tokenizers.kinds import KINDS
from lmlab.files import read_json, write_json

TOKENIZER_CHARACTERS = 1 << 26
"""Text of the training documents that a tokenizer is trained on, and whose characters it knows."""


def shards_tokenizer(request: Request, shards: Shards, work: Path) -> Tokenizer:
    """Return the given tokenizer, the one that an earlier process left in the work folder, or a new one."""
    path = work / shape.TOKENIZER
    if request.given is None and path.exists():
        return load_tokenizer(read_json(path))
    tokenizer = request.given or build_tokenizer(request.data, _first_texts(request, shards), documents_end=True)
    write_json(path, tokenizer.to_json())
    return tokenizer


def _first_texts(request: Request, shards: Shards) -> Iterator[str]:
    """Yield what a tokenizer learns from: the first TOKENIZER_CHARACTERS characters of the training documents, or the alphabet of
    these and of the validation documents. Nothing is read if it takes nothing.
    """
    task = f"reading the first documents of {request.source.name} for the tokenizer"
    request.progress.begin(task, TOKENIZER_CHARACTERS, "characters")
    reads_text, left = KINDS[request.data.tokenizer].reads_text, TOKENIZER_CHARACTERS
    alphabet: set[str] = set()
    for document in kept_documents(shards, request.settings, Place(), 0, lambda: 1.0, ReadingFindings()):
        is_training = document.split == TRAIN
        for text in document.pieces:
            if not reads_text:
                alphabet.update(text)
            elif is_training:
                yield text
        if is_training:
            left -= document.characters
            request.progress.advance(document.characters)
        if left <= 0:
            break
    if not reads_text:
        yield "".join(sorted(alphabet))
