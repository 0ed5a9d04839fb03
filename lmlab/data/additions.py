"""The new documents in texts that extend a data set, and their splits.

A document that the data set already has, in any split, is skipped, and so are repetitions in the new texts: a folder that has grown
can be given as it is. With a split by hash a new document's own hash decides, as it did for the old ones; with any other split the
validation split is unchanged, and all new documents go to training.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmlab import LabError
from lmlab.data.dataset import Dataset, is_reference
from lmlab.data.documents import Piece
from lmlab.data.duplicates import shared_documents
from lmlab.data.progress import Progress
from lmlab.data.scan import ROWS_A_TIME, Scan, scan, source_pieces
from lmlab.data.sources import Source, resolve
from lmlab.data.split import SplitPlan, hash_positions
from lmlab.data.tokenizers import Tokenizer
from lmlab.recipe import Data

NAMED = 5
"""Unknown symbols that an error lists."""


@dataclass(frozen=True, kw_only=True)
class Additions:
    """Texts that extend a data set."""

    sources: tuple[Source, ...]
    scans: tuple[Scan, ...]
    column: str
    new: np.ndarray
    """bool for each document of all texts: whether it's added."""
    unknown: int
    """New documents left out because the tokenizer doesn't know a symbol in them."""
    plan: SplitPlan
    """The split of each added document."""

    @property
    def documents(self) -> int:
        """The number of documents in the texts."""
        return len(self.new)

    @cached_property
    def rows(self) -> np.ndarray:
        """The scan's rows of the added documents."""
        found: np.ndarray = np.concatenate([one.rows for one in self.scans])[self.new]
        return found

    def sha256(self) -> str:
        """Return the hash over the added documents' hashes and splits, which identifies an extended data set."""
        over_all = hashlib.sha256()
        for key, split in zip(self.rows["key"], self.plan.of, strict=True):
            over_all.update(key.tobytes() + bytes([split]))
        return over_all.hexdigest()

    def pieces(self, task: str, progress: Progress) -> Iterator[Piece]:
        """Yield the added documents, in one pass over the texts."""
        document = 0
        for source in self.sources:
            for piece in source_pieces(source, self.column, f"{task} {source.name}", progress):
                if self.new[document]:
                    yield piece
                document += piece.last


def look_for_additions(
    old: Dataset,
    corpora: Sequence[str],
    column: str | None,
    separator: str | None,
    skip_unknown: bool,
    root: Path,
    progress: Progress,
) -> Additions:
    """Return what `corpora` add to `old`. A `column` or `separator` of None is the one that `old` was prepared with.

    Raises LabError for a text that is unavailable or unreadable, has its own split, or (without `skip_unknown`, which
    skips such documents) has symbols that the tokenizer of `old` doesn't know and refuses.
    """
    if old.conversations is not None or old.facts["split"]["rule"] == "sequential":
        raise LabError(
            f"data set {old.id} is of conversations, or split sequentially, and can't be extended: prepare all of the text anew"
        )
    column = column or old.facts["corpus"].get("column") or "text"
    sources = tuple(_source(old, corpus, column, separator, root, progress) for corpus in corpora)
    scans = tuple(scan(source, column, root, progress) for source in sources)
    keys = np.concatenate([one.rows["key"] for one in scans])
    new = ~shared_documents(_keys_of(old), keys) & _first_of_its_kind(keys)
    found = Additions(
        sources=sources,
        scans=scans,
        column=column,
        new=new,
        unknown=0,
        plan=_plan(old.facts["split"], keys[new]),
    )
    refused = _refused(found, old.tokenizer, progress)
    count = int(refused.documents.sum())
    if count and not skip_unknown:
        named = ", ".join(map(repr, refused.symbols[:NAMED])) + (" and more" if len(refused.symbols) > NAMED else "")
        raise LabError(
            f"{count:,} of {len(refused.documents):,} new documents have symbols that the {old.tokenizer.name} of data set "
            f"{old.id} don't know ({named}): leave these documents out with --skip-unknown, or prepare all of the text anew"
        )
    new[new] = ~refused.documents
    return dataclasses.replace(found, new=new, unknown=count, plan=_plan(old.facts["split"], keys[new]))


def _source(old: Dataset, corpus: str, column: str, separator: str | None, root: Path, progress: Progress) -> Source:
    if is_reference(corpus):
        raise LabError(f"{corpus} is a prepared data set: expected the text that it was made of")
    minimum_words = old.facts["corpus"].get("minimum_words") or 0
    newlines = old.facts["corpus"].get("newlines", "keep")
    how = Data(corpus=corpus, column=column, separator=separator or "", minimum_words=minimum_words, newlines=newlines)
    source = resolve(how, root, progress)
    if source.published == "parts":
        raise LabError(
            f"{corpus} comes with a split of its own, which would not be kept: give the file or folder of its training part"
        )
    rule = old.facts["corpus"]["documents_rule"]
    if separator is None and not source.entry and rule != "records":
        source = dataclasses.replace(source, rule=rule)
    return source


def _plan(split: dict[str, Any], keys: np.ndarray) -> SplitPlan:
    of = np.zeros(len(keys), np.uint8)
    if split["rule"] == "hash":
        of = (hash_positions(keys) < split["valid_share"]).astype(np.uint8)
    return SplitPlan(rule=split["rule"], share=split["valid_share"], of=of)


def _first_of_its_kind(keys: np.ndarray) -> np.ndarray:
    """Return bool for each key: whether no earlier key is equal."""
    words = np.frombuffer(np.ascontiguousarray(keys).tobytes(), dtype="<u8").reshape(-1, 4)
    first = np.zeros(len(keys), dtype=bool)
    first[np.unique(words, axis=0, return_index=True)[1]] = True
    return first


def _keys_of(old: Dataset) -> Iterator[np.ndarray]:
    """Yield the SHA-256 of every document of a data set, in arrays."""
    for split in old.splits:
        yield from document_keys(old, split)
    if old.facts["split"]["cut_characters"] is not None and old.lossless:
        # One document is split at the border: the last one in training before anything was added.
        oldest = [old.facts["splits"], *(entry["splits"] for entry in old.facts.get("extends", []))][-1]
        yield _hashes([_text_of(old, "train", oldest["train"]["documents"] - 1) + _text_of(old, "valid", 0)])


def document_keys(dataset: Dataset, split: str) -> Iterator[np.ndarray]:
    """Yield the SHA-256 of every document of a split, in arrays of V32."""
    if dataset.facts["splits"][split]["unit"] == "document":
        units = dataset.units(split)
        yield from (units["key"][begin : begin + ROWS_A_TIME] for begin in range(0, len(units), ROWS_A_TIME))
    else:
        yield _hashes(_text_of(dataset, split, number) for number in range(len(dataset.document_starts(split)) - 1))


def _text_of(old: Dataset, split: str, document: int) -> bytes:
    begin, end = old.document_starts(split)[document : document + 2]
    ids = old.tokens(split)[begin:end].astype(np.int64)
    ending = old.tokenizer.end_of_text
    return old.tokenizer.decode_bytes(ids if ending is None else ids[ids != ending])


def _hashes(texts: Iterable[bytes]) -> np.ndarray:
    return np.array([hashlib.sha256(text).digest() for text in texts], dtype="V32")


class _Refused(NamedTuple):
    documents: np.ndarray
    """bool for each new document: whether the tokenizer refuses it."""
    symbols: list[str]
    """The symbols that it doesn't know, NAMED + 1 at most."""


def _refused(found: Additions, tokenizer: Tokenizer, progress: Progress) -> _Refused:
    """Return the new documents that the tokenizer refuses. Only characters and words can contain unknown symbols, unless they
    replace them.
    """
    refused = np.zeros(int(found.new.sum()), dtype=bool)
    symbols: dict[str, None] = {}
    alphabet = "".join(one.alphabet for one in found.scans)
    known = tokenizer.name == "characters" and not tokenizer.unknown_symbols(alphabet)
    if known or getattr(tokenizer, "replace", True):
        return _Refused(refused, [])
    document = 0
    for piece in found.pieces("looking for unknown symbols in", progress):
        unknown = tokenizer.unknown_symbols(piece.text)
        if unknown:
            refused[document] = True
            symbols.update(dict.fromkeys(unknown[: NAMED + 1 - len(symbols)]))
        document += piece.last
    return _Refused(refused, list(symbols))
