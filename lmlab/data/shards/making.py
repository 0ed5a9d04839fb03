"""Making a data set of shards in its work folder: from nothing, from a smaller one, or from what a killed process has left."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data import manifest as shape
from lmlab.data.building import digest, made_already, publish, remove_stale, work_folder
from lmlab.data.dataset import Dataset
from lmlab.data.facts import as_extended, data_id, facts_of, marks_of
from lmlab.data.finish import finish
from lmlab.data.scan import Scan, no_text
from lmlab.data.shards.beginning import begin_with
from lmlab.data.shards.encoding import ROWS, TRAIN, VALID, Encoding, read_rows, text_sha256
from lmlab.data.shards.forecast import MEASURED_TOKENS, SAID_SECONDS, Pass, forecast, require_disk
from lmlab.data.shards.journal import ShardsJournal, read_journal
from lmlab.data.shards.request import Request
from lmlab.data.shards.rows import Shards, marks_match
from lmlab.data.shards.tokenizing import shards_tokenizer
from lmlab.data.sources import Source
from lmlab.data.split import SplitPlan, first_documents, published_parts
from lmlab.data.token_files import Marks, token_type
from lmlab.data.tokenizers import Tokenizer
from lmlab.files import make_folder, read_json, remove_tree, require_free_bytes
from lmlab.recipe.quantities import count

MARKED = 2
"""Documents have marks, as in every corpus with more than one."""


def make(request: Request, beginning: Dataset | None) -> Dataset | None:
    """Return the data set for the request's budget, which continues `beginning` if there is one; the caller holds the plan's lock.

    None if the work folder held a whole data set, which is published instead.
    """
    start = "" if beginning is None else beginning.id
    work = make_folder(work_folder(digest([request.plan, start])[:32], request.root))
    if (work / shape.NAME).exists():  # killed right before it was renamed
        _published(work, request)
        return None
    journal = _journal(request, beginning, work)
    shards = request.shards(journal.marks)
    tokenizer = shards_tokenizer(request, shards, work)
    marks = marks_of(request.data, MARKED, tokenizer)
    done = _encode(request, shards, tokenizer, marks, journal, work)
    _require_both(request, journal)
    made = _complete(request, beginning, tokenizer, marks, journal, done, work)
    if made is not None:
        remove_tree(work)
        return made
    return _published(work, request)


def _journal(request: Request, beginning: Dataset | None, work: Path) -> ShardsJournal:
    """Return what the work folder holds: what an earlier process left, the smaller data set, or nothing."""
    journal = read_journal(work)
    if journal is not None and not marks_match(journal.marks, request.shards()):
        remove_tree(work)  # the files have changed since it was begun
        make_folder(work)
        journal = None
    if journal is None:
        journal = ShardsJournal() if beginning is None else begin_with(beginning, work, request.progress)
    return journal


def _encode(
    request: Request, shards: Shards, tokenizer: Tokenizer, marks: Marks, journal: ShardsJournal, work: Path
) -> Pass:
    """Encode what the budget takes, with a forecast when a part of it is done; return what this process did.

    Raises StorageError where the disk lacks the space for it.
    """
    data, progress, total, name = request.data, request.progress, request.total, request.source.name
    width = token_type(tokenizer.vocabulary_size).itemsize

    def left() -> int:
        return 0 if total is None else max(0, total - journal.tokens[TRAIN])

    require_disk(left(), width, request.published_length, name, work)
    progress.begin(f"encoding {name}", total, "tokens")
    progress.advance(journal.tokens[TRAIN])
    encoding = Encoding(work, shards, request.settings, tokenizer, marks, journal, data.tokens, progress)
    began, fetched = time.monotonic(), shards.fetched_bytes

    def done() -> Pass:
        return Pass(
            tokens=encoding.encoded_tokens,
            documents=encoding.encoded_documents,
            seconds=time.monotonic() - began,
            fetched_bytes=shards.fetched_bytes - fetched,
        )

    def measured() -> None:
        expected = forecast(done(), left(), width, request.published_length, work)
        require_free_bytes(work, expected.disk_bytes, f"preparing {count(left())} more tokens of {name}")
        if expected.seconds >= SAID_SECONDS:
            for line in expected.lines():
                progress.say(line)

    encoding.run(MEASURED_TOKENS, measured)
    return done()


def _require_both(request: Request, journal: ShardsJournal) -> None:
    """Raise LabError unless both splits have documents."""
    if not sum(journal.documents):
        raise no_text(request.source, (), 0)
    for index, name in ((TRAIN, "training"), (VALID, "validation")):
        if not journal.documents[index]:
            raise LabError(
                f"the {name} split of {request.source.title} would be empty: its {sum(journal.documents):,} documents are at "
                f"most data.valid_documents {request.data.valid_documents:,}; choose fewer"
            )


def _complete(
    request: Request,
    beginning: Dataset | None,
    tokenizer: Tokenizer,
    marks: Marks,
    journal: ShardsJournal,
    done: Pass,
    work: Path,
) -> Dataset | None:
    """Write tables and manifest of what was encoded; return the data set instead if it exists already.

    No file of the work folder is mapped any more on return: Windows couldn't remove it.
    """
    data, source = request.data, request.source
    scanned = _scanned(work, journal)
    split = _split(request, scanned)
    identity = data_id(scanned.text_sha256, split.identity(), tokenizer, marks.begin)
    made = made_already(identity, request.root)
    if made is not None:
        return made
    facts = facts_of(data, _used(source, journal), scanned, split, tokenizer, marks)
    facts |= {"id": identity, "shards": _shards_facts(request, journal, done)}
    facts["corpus"] |= {
        "alphabet": None,
        "carriage_returns": journal.carriage_returns,
        "sources_sha256": digest(source.fingerprint()),
    }
    if beginning is not None:
        facts["extends"] = as_extended(beginning)
    finish(work, facts, source, data.column, scanned, split, tokenizer, journal.tokens, request.progress)
    return None


def _published(work: Path, request: Request) -> Dataset:
    made = publish(work, f"{request.source.name}-{read_json(work / shape.NAME)['id']}", request.root)
    remove_stale(request.root)
    return made


def _scanned(work: Path, journal: ShardsJournal) -> Scan:
    """Return what a scan of the documents that were encoded would find."""
    rows = read_rows(work / ROWS)
    return Scan(
        rows=rows,
        text_sha256=text_sha256([rows]),
        documents=len(rows),
        characters=journal.characters,
        bytes=journal.bytes,
        alphabet="",
        empty_documents=journal.empty_documents,
        short_documents=journal.short_documents,
        forced_cuts=journal.forced_cuts,
        skipped_files=(),
        skipped_bytes=0,
    )


def _split(request: Request, scanned: Scan) -> SplitPlan:
    if request.source.published == "parts":
        return published_parts(np.asarray(scanned.rows["part"]))
    return first_documents(scanned.documents, request.data.valid_documents)


def _used(source: Source, journal: ShardsJournal) -> Source:
    """Return the source with the files that were read, each with the SHA-256 that the hub states, or else with its mark."""
    used = source.files[: len(journal.marks)]
    hashes = {file.path: mark.sha256 for file, mark in zip(used, journal.marks, strict=True)}
    hashes |= {path: source.hashes[path] for path in hashes if path in source.hashes}
    return dataclasses.replace(source, files=used, hashes=hashes)


def _shards_facts(request: Request, journal: ShardsJournal, done: Pass) -> dict[str, Any]:
    """Return the manifest's section on the shards."""
    hub = request.hub
    return {
        "settings": request.key,
        "place": list(journal.place),
        "complete": journal.complete,
        "files": [mark.to_json() for mark in journal.marks],
        "hub": None if hub is None else {"repository": hub.repository, "revision": hub.revision, "folder": hub.folder},
        "measured": dataclasses.asdict(done),
    }
