"""Extending a data set: the tokens of the new one begin with exactly those of the old one, followed by those of new text.

    find new documents   -> their tokens, by the old tokenizer   -> old and new concatenated     -> manifest -> rename
    additions               encode                                  here

The token files are whole copies with additions, rather than links to the old ones: a data set stays one folder that
can be moved and verified alone, and a split one array that can be mapped. A token keeps its position, a document its split and
a unit its text, so the records of used tokens in runs on the old data set are valid for the new one. The id hashes the
old id and the new documents; the manifest names the extended data set, and all that that one extended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError, __version__
from lmlab.data import manifest as shape
from lmlab.data.additions import Additions, look_for_additions
from lmlab.data.building import (
    digest,
    lock_path,
    made_already,
    publish,
    remove_stale,
    system_errors_in_one_line,
    work_folder,
)
from lmlab.data.dataset import Dataset
from lmlab.data.duplicates import shared_lines, text_of
from lmlab.data.encode import EncodingJournal, encode
from lmlab.data.facts import as_extended
from lmlab.data.finish import file_entry, mapped, save_array, write_units
from lmlab.data.progress import Progress, shown
from lmlab.data.split import SPLITS
from lmlab.data.token_files import Marks, starts_file, token_type, tokens_file
from lmlab.data.units import block_units, document_units
from lmlab.files import (
    DISK,
    FileLock,
    cache_folder,
    make_folder,
    new_file,
    remove_tree,
    require_free_bytes,
    write_bytes,
    write_json,
)

NEW = "new"
"""The folder inside the work folder that holds the new documents' tokens alone."""
BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Extension:
    """The result of an extension."""

    dataset: Dataset
    """The extended data set, or the old one if nothing was new."""
    added: dict[str, int]
    """Number of added documents, by split."""
    there_already: int
    """Documents of the new texts that the data set had already, or that are repeated in them."""
    unknown: int
    """Documents left out because of symbols that the tokenizer doesn't know."""

    def line(self) -> str:
        """Return the result in words."""
        passed = f"{self.there_already:,} were there already"
        if self.unknown:
            passed += f", {self.unknown:,} left out for unknown symbols"
        if not self.added:
            return f"nothing is new for data set {self.dataset.id}: {passed}"
        parts = ", ".join(f"{count:,} {split}" for split, count in self.added.items())
        return f"{sum(self.added.values()):,} documents added ({parts}), {passed}"


def extend(
    old: Dataset,
    corpora: Sequence[str],
    column: str | None = None,
    separator: str | None = None,
    skip_unknown: bool = False,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Extension:
    """Return `old` extended by the documents of `corpora` (files, folders, catalogue names, or -) that it doesn't have yet.

    `column` and `separator` are those of the recipe; None: those that `old` was prepared with.
    `skip_unknown` skips documents with symbols that the tokenizer doesn't know, which are refused otherwise. `folder`
    replaces the cache folder. Raises LabError for a view, and for texts that are unavailable or can't be read or encoded.
    """
    if old.whole is not old:
        raise LabError(
            f"data set {old.id} is only the beginning (data.tokens) of data set {old.whole.id}: extend that one with "
            f"lmlab data extend {old.whole.id} PATH"
        )
    root = make_folder(folder or cache_folder())
    with system_errors_in_one_line(), shown(progress) as progress:
        found = look_for_additions(old, corpora, column, separator, skip_unknown, root, progress)
        added = {name: int((found.plan.of == index).sum()) for index, name in enumerate(SPLITS)}
        added = {name: count for name, count in added.items() if count}
        there_already = found.documents - found.unknown - sum(added.values())
        if not added:
            return Extension(dataset=old, added={}, there_already=there_already, unknown=found.unknown)
        plan = digest([shape.FORMAT, "extends", old.id, found.sha256()])[:32]
        waiting = f"another process is extending {old.name}: waiting for it"
        with FileLock(lock_path(plan, root), progress.say, waiting):
            made = made_already(_identity(plan), root) or _build(old, found, plan, root, progress)
        return Extension(dataset=made, added=added, there_already=there_already, unknown=found.unknown)


def _identity(plan: str) -> str:
    """Return the data set's id, which differs from the work folder's name so that the two are never confused."""
    return plan[:16]


def _build(old: Dataset, found: Additions, plan: str, root: Path, progress: Progress) -> Dataset:
    """Build the data set, or continue building it; the caller holds the plan's lock."""
    work = make_folder(work_folder(plan, root))
    if not (work / shape.NAME).exists():
        new = make_folder(work / NEW)
        characters = int(found.rows["characters"].sum())
        marks = Marks(begin=old.begin_of_text, end=old.tokenizer.end_of_text)
        journal = encode(found.pieces("encoding", progress), found.plan, old.tokenizer, marks, characters, new)
        progress.begin("joining old and new", None)
        sizes = sum(entry["bytes"] for entry in old.manifest["files"].values())
        require_free_bytes(work, sizes, "copying the data set that is extended")
        write_bytes(work / shape.TOKENIZER, (old.folder / shape.TOKENIZER).read_bytes())
        entries = {name: _join(work, old, name, found, journal) for name in old.splits}
        DISK.flush_folder(work)
        manifest = {
            **_facts(old, found, _identity(plan)),
            "splits": entries,
            "duplicates": _duplicates(work, old, entries),
            "files": {name: file_entry(work / name) for name in shape.files_of(list(entries))},
        }
        write_json(work / shape.NAME, manifest)
    if (work / NEW).exists():
        remove_tree(work / NEW)
    made = publish(work, f"{old.name}-{_identity(plan)}", root)
    remove_stale(root)
    return made


def _join(work: Path, old: Dataset, name: str, found: Additions, journal: EncodingJournal) -> dict[str, Any]:
    """Write a split's four files, old before new; return its entry in the manifest."""
    index, kind, before = SPLITS.index(name), token_type(old.vocabulary_size), len(old.tokens(name))
    new_tokens, count = work / NEW / tokens_file(name), before + journal.tokens[index]
    _copy(
        work / tokens_file(name), old.folder / tokens_file(name), old.manifest["files"][tokens_file(name)], new_tokens
    )
    begins = np.fromfile(work / NEW / starts_file(name), dtype="<i8")
    starts = np.concatenate([old.document_starts(name)[:-1], begins + before, [count]]).astype("<i8")
    save_array(work / shape.documents_file(name), starts)
    rows = found.rows[found.plan.of == index]
    sizes = np.append(old.document_bytes(name), rows["bytes"]).astype("<i8")
    save_array(work / shape.bytes_file(name), sizes)
    unit = old.facts["splits"][name]["unit"]
    return {
        "tokens": count,
        "documents": len(sizes),
        "bytes": int(sizes.sum()),
        "units": write_units(work / shape.units_file(name), _units(old, name, rows, begins, new_tokens, kind)),
        "unit": unit,
    }


def _copy(path: Path, old: Path, entry: dict[str, Any], new: Path) -> None:
    """Concatenate `old` and `new` into one file; raises LabError if the old one doesn't match its manifest."""
    digest_of_old = hashlib.sha256()
    with new_file(path) as file:
        for part in (old, new):
            with open(part, "rb") as source:
                while block := source.read(BLOCK):
                    file.write(block)
                    if part is old:
                        digest_of_old.update(block)
    if digest_of_old.hexdigest() != entry["sha256"]:
        raise LabError(f"{old} is damaged, its SHA-256 changed: delete {old.parent} and prepare again")


def _units(
    old: Dataset, name: str, rows: np.ndarray, begins: np.ndarray, new_tokens: Path, kind: np.dtype
) -> Iterator[np.ndarray]:
    """Yield the old units and then those of the new documents, of the same kind, so that old scores match their units."""
    yield np.asarray(old.units(name))
    if not len(begins):
        return
    before = len(old.tokens(name))
    if old.facts["splits"][name]["unit"] == "document":
        yield document_units(rows["key"], rows["bytes"], begins + before)
        return
    tokens = mapped(new_tokens, kind)
    for units in block_units(tokens, np.append(begins, len(tokens)), old.tokenizer):
        units["start"] += before
        yield units


def _duplicates(work: Path, old: Dataset, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the duplicates' entry. New documents duplicate none of the data set, so only counts change; lines are compared
    again if they were before.
    """
    facts = old.facts["duplicates"]
    lines: tuple[int | None, int | None] = (None, None)
    if entries["valid"]["unit"] == "block":
        kind = token_type(old.vocabulary_size)
        both = [text_of(mapped(work / tokens_file(name), kind), old.tokenizer) for name in ("train", "valid")]
        lines = shared_lines(both[0], both[1])
    tokens, of_tokens = facts.get("tokens", 0), entries["valid"]["tokens"]
    counts = {"of_documents": entries["valid"]["documents"], "tokens": tokens, "of_tokens": of_tokens}
    return {**facts, **counts, "lines": lines[0], "of_lines": lines[1], "share_of_tokens": tokens / of_tokens}


def _facts(old: Dataset, found: Additions, identity: str) -> dict[str, Any]:
    """Return the manifest's fields other than counts and files."""
    facts, corpus, rows = old.facts, old.facts["corpus"], found.rows
    listed = [
        {"name": path.name, "sha256": source.hashes[path]} for source in found.sources for path in sorted(source.hashes)
    ]
    # A lossless tokenizer of characters knows exactly those of its corpus, and no others were accepted.
    closed = old.tokenizer.name == "characters" and old.lossless
    return {
        "format": shape.FORMAT,
        "id": identity,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "lmlab": __version__,
        "extends": as_extended(old),
        "corpus": {
            **corpus,
            "text_sha256": digest([corpus.get("text_sha256"), found.sha256()]),
            "documents": corpus["documents"] + len(rows),
            "characters": corpus["characters"] + int(rows["characters"].sum()),
            "bytes": corpus["bytes"] + int(rows["bytes"].sum()),
            "alphabet": corpus["alphabet"] if closed else None,
            "empty_documents": corpus["empty_documents"] + sum(one.empty_documents for one in found.scans),
            "short_documents": (corpus.get("short_documents") or 0) + sum(one.short_documents for one in found.scans),
            "forced_cuts": corpus["forced_cuts"] + sum(one.forced_cuts for one in found.scans),
            "skipped_files": [*corpus["skipped_files"], *(name for one in found.scans for name in one.skipped_files)][
                :1000
            ],
            "skipped_bytes": corpus.get("skipped_bytes", 0) + sum(one.skipped_bytes for one in found.scans),
            "carriage_returns": corpus.get("carriage_returns", False)
            or any("\r" in one.alphabet for one in found.scans),
            "files": corpus.get("files", 0) + len(listed),
            "sources": [*corpus.get("sources", []), *listed][:1000],
            "sources_sha256": digest([corpus.get("sources_sha256"), *(one.fingerprint() for one in found.sources)]),
        },
        "split": facts["split"],
        "tokenizer": {**facts["tokenizer"], "end_of_text": old.tokenizer.end_of_text},
        "token_type": facts["token_type"],
    }
