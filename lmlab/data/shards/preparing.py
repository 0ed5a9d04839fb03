"""Preparing a data set from shards, as far as a token budget needs: a larger budget continues a smaller one's data set.

    validation documents, or the published parts   first, so they are the same for every budget
    tokenizer                                       trained on the first training documents, so it is the same, too
    training documents                              until the budget is reached

The data set for N tokens begins with that for any fewer, and its id doesn't depend on how it came about. Continuing copies the
token files (as `lmlab.data.extending` does, and for its reasons) and encodes only what follows.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data import manifest as shape
from lmlab.data.building import digest, lock_path, made_already, publish, remove_stale, work_folder
from lmlab.data.catalogue import CATALOGUE
from lmlab.data.dataset import Dataset
from lmlab.data.facts import data_id, facts_of, marks_of
from lmlab.data.finish import finish
from lmlab.data.progress import Progress
from lmlab.data.scan import Scan, no_text
from lmlab.data.shards.beginning import begin_with
from lmlab.data.shards.encoding import ROWS, Encoding, ShardSettings, read_rows, text_sha256
from lmlab.data.shards.existing import Beginning, Existing, first_tokens, fitting, prepared_from
from lmlab.data.shards.forecast import (
    MEASURED_TOKENS,
    SAID_SECONDS,
    Pass,
    forecast,
    published_tokens_a_document,
    require_disk,
)
from lmlab.data.shards.journal import ShardsJournal, read_journal
from lmlab.data.shards.rows import Shards, marks_match
from lmlab.data.shards.tokenizing import shards_tokenizer
from lmlab.data.sources import Source, corpus_key
from lmlab.data.split import SPLITS, SplitPlan, first_documents, published_parts, require_used
from lmlab.data.tokenizers import Tokenizer
from lmlab.files import FileLock, make_folder, read_json, remove_tree, require_free_bytes
from lmlab.recipe import Data
from lmlab.recipe.quantities import count

MARKED = 2
"""Documents have marks, as in every corpus with more than one."""
PLANNED_TOKENS = 4_000_000
"""Training tokens of the beginning that a plan rests on, where the whole is more than twice as long."""
ABOVE_PUBLISHED = 1.05
"""A budget this many times the published number of tokens is refused before anything is read."""
PART_ORDER = {"": 0, "valid": 0, "test": 1, "train": 2}


def prepare_shards(data: Data, source: Source, root: Path, progress: Progress, given: Tokenizer | None) -> Dataset:
    """Return the data set with the first `data.tokens` training tokens of `source` (None: all of them), made as far as needed.

    `given` replaces the tokenizer that `data` names. Raises LabError for a corpus that can't be read, or has fewer tokens.
    """
    source = _in_reading_order(source)
    shards = _shards_of(source, data, root, progress, {})
    key = settings_key(data, source, given)
    found = fitting(key, shards, data.tokens, root)
    if found.whole is None:
        waiting = f"another process is preparing {source.name}: waiting for it"
        with FileLock(lock_path(_plan(key, data), root), progress.say, waiting):
            found = fitting(key, shards, data.tokens, root)
            if found.whole is None:
                made = _build(data, source, key, found, root, progress, given)
                found = Existing(whole=made, beginning=None)
    assert found.whole is not None
    return found.whole if data.tokens is None else first_tokens(found.whole, data.tokens)


def prepared_shards(data: Data, source: Source, root: Path, progress: Progress) -> Dataset | None:
    """Return the data set as `prepare_shards` does if it exists already, else None; fetches nothing."""
    source = _in_reading_order(source)
    found = fitting(settings_key(data, source, None), _shards_of(source, data, root, progress, {}), data.tokens, root)
    if found.whole is None:
        return None
    return found.whole if data.tokens is None else first_tokens(found.whole, data.tokens)


def planned_shards(data: Data, source: Source, root: Path, progress: Progress) -> Dataset:
    """Return the data set as `prepare_shards` does if it exists or is small, else a `Beginning` of it of PLANNED_TOKENS or more
    training tokens, prepared now if necessary.
    """
    hub = CATALOGUE[source.entry].hub if source.entry else None
    published = published_tokens_a_document(hub, data.tokenizer)
    total = data.tokens or (hub.gpt2_tokens if hub and published else None)
    ordered = _in_reading_order(source)
    shards = _shards_of(ordered, data, root, progress, {})
    found = fitting(settings_key(data, ordered, None), shards, data.tokens, root)
    if found.whole is not None or total is None or total <= 2 * PLANNED_TOKENS:
        return prepare_shards(data, source, root, progress, None)
    beginning = found.beginning
    if beginning is None or len(beginning.tokens("train")) < PLANNED_TOKENS:
        beginning = prepare_shards(dataclasses.replace(data, tokens=PLANNED_TOKENS), source, root, progress, None).whole
    prepared = prepared_from(beginning)
    if prepared is None or prepared.measured is None:
        return prepare_shards(data, source, root, progress, None)
    left, width = total - len(beginning.tokens("train")), beginning.tokens("train").itemsize
    expected = forecast(prepared.measured, left, width, published, root)
    copied = sum(beginning.manifest["files"][name]["bytes"] for name in beginning.manifest["files"])
    expected = dataclasses.replace(expected, disk_bytes=expected.disk_bytes + copied)
    return Beginning(beginning, total, expected)


def settings_key(data: Data, source: Source, given: Tokenizer | None) -> str:
    """Return a hash of the settings that determine a data set, besides the shards themselves and the budget."""
    require_used(data, source.published or "first", source)
    rule = ["parts"] if source.published == "parts" else ["first", data.valid_documents]
    tokenizer: Any = [data.tokenizer, data.vocabulary, data.minimum_count, data.lowercase, data.unknown]
    if given is not None:
        tokenizer = given.to_json()
    column = data.column if any(file.kind != "text" for file in source.files) else ""
    windows = data.by_document
    return digest([shape.FORMAT, source.rule, column, source.minimum_words, source.newlines, rule, tokenizer, windows])


def _in_reading_order(source: Source) -> Source:
    """Return the source with its files in the order in which they are read: the parts that aren't trained on first."""
    files = tuple(sorted(source.files, key=lambda file: PART_ORDER[file.part]))
    return dataclasses.replace(source, files=files)


def _shards_of(source: Source, data: Data, root: Path, progress: Progress, known: dict[int, Any]) -> Shards:
    return Shards(
        files=source.files, column=data.column, key=corpus_key(data), root=root, progress=progress, known=known
    )


def _plan(key: str, data: Data) -> str:
    return digest([key, corpus_key(data)])[:32]


def _build(
    data: Data, source: Source, key: str, found: Existing, root: Path, progress: Progress, given: Tokenizer | None
) -> Dataset:
    """Build the data set, or continue building it; the caller holds the plan's lock."""
    beginning = found.beginning
    start = "" if beginning is None else beginning.id
    work = make_folder(work_folder(digest([_plan(key, data), start])[:32], root))
    if (work / shape.NAME).exists():  # killed right before it was renamed
        return _published(work, source, root)
    journal = read_journal(work)
    if journal is not None and not marks_match(journal.marks, _shards_of(source, data, root, progress, {})):
        remove_tree(work)  # the files have changed since it was begun
        return _build(data, source, key, found, root, progress, given)
    if journal is None:
        journal = ShardsJournal() if beginning is None else begin_with(beginning, work, progress)
    shards = _shards_of(source, data, root, progress, dict(enumerate(journal.marks)))
    settings = _settings(data, source)
    tokenizer = shards_tokenizer(data, source.name, shards, settings, work, progress, given)
    marks = marks_of(data, MARKED, tokenizer)
    encoding = Encoding(work, shards, settings, tokenizer, marks, journal, data.tokens, progress)
    done = _encode(encoding, shards, data, source, work, progress)
    _require_both(journal, data, source)
    scanned = _scanned(work, journal)
    split = _split(data, source, scanned)
    identity = data_id(scanned.text_sha256, split.identity(), tokenizer, marks.begin)
    made = made_already(identity, root)
    if made is not None:
        remove_tree(work)
        return made
    facts = facts_of(data, _used(source, journal), scanned, split, tokenizer, marks)
    facts |= {"id": identity, "shards": _shards_facts(key, source, journal, done)}
    facts["corpus"] |= {
        "alphabet": None,
        "carriage_returns": journal.carriage_returns,
        "sources_sha256": digest(source.fingerprint()),
    }
    if beginning is not None:
        facts["extends"] = [*_as_extended(beginning), *beginning.facts.get("extends", [])]
    finish(work, facts, source, data.column, scanned, split, tokenizer, journal.tokens, progress)
    return _published(work, source, root)


def _encode(encoding: Encoding, shards: Shards, data: Data, source: Source, work: Path, progress: Progress) -> Pass:
    """Encode what the budget takes, with a forecast when a part of it is done; return what this process did.

    Raises StorageError where the disk lacks the space for it.
    """
    hub = CATALOGUE[source.entry].hub if source.entry else None
    published = published_tokens_a_document(hub, data.tokenizer)
    total = data.tokens or (hub.gpt2_tokens if hub and published else None)
    train = SPLITS.index("train")
    if hub and published and hub.gpt2_tokens and data.tokens and data.tokens > ABOVE_PUBLISHED * hub.gpt2_tokens:
        raise LabError(
            f"data.tokens {data.tokens:,} is more than the {hub.gpt2_tokens:,} tokens that {source.given} has by its published "
            "count: choose fewer, or a larger corpus (lmlab data show lists them)"
        )
    width = encoding.token_bytes
    left = 0 if total is None else max(0, total - encoding.journal.tokens[train])
    require_disk(left, width, published, source.name, work)
    progress.begin(f"encoding {source.name}", total, "tokens")
    progress.advance(encoding.journal.tokens[train])
    began = time.monotonic()

    def done() -> Pass:
        return Pass(
            tokens=encoding.encoded_tokens,
            documents=encoding.encoded_documents,
            seconds=time.monotonic() - began,
            fetched_bytes=shards.fetched_bytes,
        )

    def measured() -> None:
        if total is None:
            return
        missing = max(0, total - encoding.journal.tokens[train])
        expected = forecast(done(), missing, width, published, work)
        require_free_bytes(work, expected.disk_bytes, f"preparing {count(missing)} more tokens of {source.name}")
        if expected.seconds >= SAID_SECONDS:
            for line in expected.lines():
                progress.say(line)

    encoding.run(MEASURED_TOKENS, measured)
    return done()


def _published(work: Path, source: Source, root: Path) -> Dataset:
    made = publish(work, f"{source.name}-{read_json(work / shape.NAME)['id']}", root)
    remove_stale(root)
    return made


def _settings(data: Data, source: Source) -> ShardSettings:
    return ShardSettings(
        rule="articles" if source.rule == "articles" else "records",
        parts=tuple(file.part for file in source.files),
        valid_documents=data.valid_documents,
        minimum_words=source.minimum_words,
        newlines=source.newlines,
    )


def _require_both(journal: ShardsJournal, data: Data, source: Source) -> None:
    """Raise LabError unless both splits have documents."""
    if not sum(journal.documents):
        raise no_text(source, (), 0)
    for index, name in ((0, "training"), (1, "validation")):
        if not journal.documents[index]:
            raise LabError(
                f"the {name} split of {source.title} would be empty: its {sum(journal.documents):,} documents are at most "
                f"data.valid_documents {data.valid_documents:,}; choose fewer"
            )


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


def _split(data: Data, source: Source, scanned: Scan) -> SplitPlan:
    if source.published == "parts":
        return published_parts(np.asarray(scanned.rows["part"]))
    return first_documents(scanned.documents, data.valid_documents)


def _used(source: Source, journal: ShardsJournal) -> Source:
    """Return the source with the files that were read, each with the SHA-256 that the hub states, or else with its mark."""
    used = source.files[: len(journal.marks)]
    hashes = {file.path: mark.sha256 for file, mark in zip(used, journal.marks, strict=True)}
    hashes |= {path: source.hashes[path] for path in hashes if path in source.hashes}
    return dataclasses.replace(source, files=used, hashes=hashes)


def _shards_facts(key: str, source: Source, journal: ShardsJournal, done: Pass) -> dict[str, Any]:
    """Return the manifest's section on the shards."""
    hub = CATALOGUE[source.entry].hub if source.entry else None
    return {
        "settings": key,
        "place": list(journal.place),
        "complete": journal.complete,
        "files": [mark.to_json() for mark in journal.marks],
        "hub": None if hub is None else {"repository": hub.repository, "revision": hub.revision, "folder": hub.folder},
        "measured": dataclasses.asdict(done),
    }


def _as_extended(old: Dataset) -> list[dict[str, Any]]:
    """Return the entry for a data set that another one's tokens begin with, as `lmlab.data.extending` makes it."""
    splits = {
        name: {
            "tokens": entry["tokens"],
            "documents": entry["documents"],
            "sha256": old.manifest["files"][f"tokens-{name}.bin"]["sha256"],
        }
        for name, entry in old.facts["splits"].items()
    }
    return [{"id": old.id, "splits": splits}]
