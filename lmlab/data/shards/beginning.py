"""Beginning the work for a larger budget with the data set of a smaller one: its tokens are copied, and nothing is read again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lmlab import LabError
from lmlab.data import manifest as shape
from lmlab.data.dataset import Dataset
from lmlab.data.progress import Progress
from lmlab.data.shards.encoding import ROWS
from lmlab.data.shards.existing import in_reading_order, prepared_from, rows_of
from lmlab.data.shards.journal import ShardsJournal, write_journal
from lmlab.data.split import SPLITS
from lmlab.data.token_files import starts_file, tokens_file
from lmlab.files import DISK, new_file, require_free_bytes, write_bytes

BLOCK = 1 << 20


def begin_with(old: Dataset, work: Path, progress: Progress) -> ShardsJournal:
    """Copy `old` into the work folder as if it had been encoded there; return the journal, which is stored last.

    Raises LabError if a file of `old` doesn't match its manifest, and StorageError if the disk has no space for the copy.
    """
    prepared = prepared_from(old)
    assert prepared is not None
    sizes = {name: old.manifest["files"][tokens_file(name)]["bytes"] for name in old.splits}
    require_free_bytes(work, sum(sizes.values()), f"copying data set {old.id}, which is continued,")
    progress.say(f"continuing from data set {old.id}: its {len(old.tokens('train')):,} training tokens are copied")
    progress.begin(f"copying data set {old.id}", sum(sizes.values()))
    for name in SPLITS:
        _copy(old, name, work, progress)
    with new_file(work / ROWS) as file:
        for name in in_reading_order(old):
            for rows in rows_of(old, name):
                file.write(rows.tobytes())
    write_bytes(work / shape.TOKENIZER, (old.folder / shape.TOKENIZER).read_bytes())
    DISK.flush_folder(work)
    corpus, splits = old.facts["corpus"], old.facts["splits"]
    journal = ShardsJournal(
        place=prepared.place,
        tokens=[splits[name]["tokens"] if name in splits else 0 for name in SPLITS],
        documents=[splits[name]["documents"] if name in splits else 0 for name in SPLITS],
        characters=corpus["characters"],
        bytes=corpus["bytes"],
        empty_documents=corpus["empty_documents"],
        short_documents=corpus.get("short_documents") or 0,
        forced_cuts=corpus["forced_cuts"],
        carriage_returns=bool(corpus.get("carriage_returns")),
        marks=prepared.marks,
    )
    write_journal(work, journal)
    return journal


def _copy(old: Dataset, name: str, work: Path, progress: Progress) -> None:
    """Copy a split's tokens, and the first token of each document; both files are empty for a split that `old` doesn't have."""
    digest = hashlib.sha256()
    with new_file(work / tokens_file(name)) as file:
        if name in old.splits:
            with open(old.folder / tokens_file(name), "rb") as source:
                while block := source.read(BLOCK):
                    digest.update(block)
                    file.write(block)
                    progress.advance(len(block))
    if name in old.splits and digest.hexdigest() != old.manifest["files"][tokens_file(name)]["sha256"]:
        raise LabError(
            f"{old.folder / tokens_file(name)} is damaged, its SHA-256 changed: delete {old.folder} and prepare again"
        )
    with new_file(work / starts_file(name)) as file:
        if name in old.splits:
            file.write(np.asarray(old.document_starts(name)[:-1], dtype="<i8").tobytes())
