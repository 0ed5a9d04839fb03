"""The last steps of preparing a data set: tables of documents and units, duplicates between the splits, and the manifest.

Input: a work folder with every split's tokens. Output: the same folder with all files of a data set, each flushed to the
disk. The manifest is written when everything else is complete, and only then the files needed to continue are removed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.data import manifest as shape
from lmlab.data.duplicates import Duplicates, shared_documents, shared_lines, text_of
from lmlab.data.progress import Progress
from lmlab.data.scan import ROWS_A_TIME, Scan, source_pieces
from lmlab.data.sources import Source
from lmlab.data.split import SPLITS, SplitPlan
from lmlab.data.token_files import starts_file, token_type, tokens_file
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.units import UNIT, block_units, document_units, wants_blocks
from lmlab.files import DISK, BlockWriter, new_file, sha256_of_file, write_json

KEYS_AND_BYTES = np.dtype([("key", "V32"), ("bytes", "<i8")])


def finish(
    work: Path,
    facts: dict[str, Any],
    source: Source,
    column: str,
    scanned: Scan,
    split: SplitPlan,
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    progress: Progress,
) -> None:
    """Complete the data set in `work`; `facts` are the manifest's fields other than counts and files, `tokens` the length of each
    of SPLITS.
    """
    splits = [name for index, name in enumerate(SPLITS) if tokens[index]]
    progress.begin("finding units and duplicates", None)
    halves = _halves(source, column, split, progress) if split.cut_document >= 0 else None
    apart = "conversations" in facts
    entries = {name: _tables(work, name, tokens, scanned, split, halves, tokenizer, apart) for name in splits}
    keys = {name: _rows_of(scanned, split, SPLITS.index(name), halves) for name in ("train", "valid")}
    duplicates = _duplicates(work, entries, keys, tokenizer)
    DISK.flush_folder(work)
    manifest = {
        **facts,
        "token_type": token_type(tokenizer.vocabulary_size).name,
        "splits": entries,
        "duplicates": duplicates.to_json(),
        "files": {name: file_entry(work / name) for name in shape.files_of(splits, conversations=apart)},
    }
    write_json(work / shape.NAME, manifest)


def tidy(work: Path) -> None:
    """Remove everything from a work folder with a manifest that isn't part of the data set."""
    wanted = {shape.NAME, *shape.read_manifest(work)["files"]}
    for path in work.iterdir():
        if path.name not in wanted:
            DISK.remove(path)
    DISK.flush_folder(work)


def _tables(
    work: Path,
    name: str,
    counts: Sequence[int],
    scanned: Scan,
    split: SplitPlan,
    halves: np.ndarray | None,
    tokenizer: Tokenizer,
    apart: bool,
) -> dict[str, Any]:
    """Write a split's documents, bytes and units; return its entry in the manifest.

    `apart`: each document is a unit, however few there are.
    """
    index = SPLITS.index(name)
    tokens = mapped(work / tokens_file(name), token_type(tokenizer.vocabulary_size))
    starts = np.append(np.fromfile(work / starts_file(name), dtype="<i8"), np.int64(counts[index])).astype("<i8")
    documents = len(starts) - 1
    save_array(work / shape.documents_file(name), starts)
    sizes = np.concatenate([rows["bytes"] for rows in _rows_of(scanned, split, index, halves)]).astype("<i8")
    save_array(work / shape.bytes_file(name), sizes)
    blocks = not apart and wants_blocks(documents, tokenizer)
    if blocks:
        units = write_units(work / shape.units_file(name), block_units(tokens, starts, tokenizer))
    else:
        units = write_units(work / shape.units_file(name), _units_of(scanned, split, index, halves, starts))
    return {
        "tokens": counts[index],
        "documents": documents,
        "bytes": int(sizes.sum()),
        "units": units,
        "unit": "block" if blocks else "document",
    }


def _rows_of(scanned: Scan, split: SplitPlan, index: int, halves: np.ndarray | None) -> Iterator[np.ndarray]:
    """Yield the keys and bytes of a split's documents, in arrays; `halves` replace the document that is cut."""
    for begin in range(0, scanned.documents, ROWS_A_TIME):
        chosen = split.of[begin : begin + ROWS_A_TIME] == index
        if begin <= split.cut_document < begin + ROWS_A_TIME:
            chosen[split.cut_document - begin] = False
        rows = np.empty(int(chosen.sum()), KEYS_AND_BYTES)
        found = scanned.rows[begin : begin + ROWS_A_TIME][chosen]
        rows["key"], rows["bytes"] = found["key"], found["bytes"]
        yield rows
    if halves is not None and index < 2:  # the cut document is the last of the corpus
        yield halves[index : index + 1]


def _units_of(
    scanned: Scan, split: SplitPlan, index: int, halves: np.ndarray | None, starts: np.ndarray
) -> Iterator[np.ndarray]:
    at = 0
    for rows in _rows_of(scanned, split, index, halves):
        yield document_units(rows["key"], rows["bytes"], starts[at : at + len(rows)])
        at += len(rows)


def _halves(source: Source, column: str, split: SplitPlan, progress: Progress) -> np.ndarray:
    """Return SHA-256 and bytes of the two parts of the document cut by the border, in one more pass over the corpus."""
    digests, sizes = (hashlib.sha256(), hashlib.sha256()), [0, 0]
    document = at = 0
    for piece in source_pieces(source, column, f"cutting {source.name}", progress):
        if document == split.cut_document:
            border = max(0, split.cut_characters - at)
            for half, text in enumerate((piece.text[:border], piece.text[border:])):
                encoded = text.encode()
                digests[half].update(encoded)
                sizes[half] += len(encoded)
            at += len(piece.text)
        document += piece.last
    return np.array([(digests[half].digest(), sizes[half]) for half in (0, 1)], dtype=KEYS_AND_BYTES)


def _duplicates(
    work: Path, entries: dict[str, dict[str, Any]], rows: dict[str, Iterator[np.ndarray]], tokenizer: Tokenizer
) -> Duplicates:
    """Return the documents, given as `rows` of keys by split, and if there are few of them the lines, that are in both splits."""
    starts = np.load(work / shape.documents_file("valid"))
    valid = np.concatenate([part["key"] for part in rows["valid"]])
    shared = shared_documents((part["key"] for part in rows["train"]), valid)
    lengths = np.diff(starts)
    lines: tuple[int | None, int | None] = (None, None)
    if entries["valid"]["unit"] == "block":
        kind = token_type(tokenizer.vocabulary_size)
        both = [text_of(mapped(work / tokens_file(name), kind), tokenizer) for name in ("train", "valid")]
        lines = shared_lines(both[0], both[1])
    return Duplicates(
        documents=int(shared.sum()),
        of_documents=entries["valid"]["documents"],
        tokens=int(lengths[shared].sum()),
        of_tokens=entries["valid"]["tokens"],
        lines=lines[0],
        of_lines=lines[1],
    )


def write_units(path: Path, parts: Iterable[np.ndarray]) -> int:
    """Write units to a plain file, then with a numpy header that contains their number; return that number."""
    plain = path.with_suffix(".tmp")
    count = 0
    if os.path.lexists(plain):
        DISK.remove(plain)
    with DISK.open(plain) as file:
        writer = BlockWriter(file)
        for rows in parts:
            writer.write(rows.tobytes())
            count += len(rows)
        writer.hand_over()  # not flushed, since the file is removed below
    units: np.ndarray = np.memmap(plain, dtype=UNIT, mode="r")
    save_array(path, units)
    del units  # Windows can't delete a file that is mapped
    DISK.remove(plain)
    return count


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a numpy file of one axis of rows, flushed to the disk."""
    with new_file(path) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(np.ascontiguousarray(array).view(np.uint8).data)


def mapped(path: Path, kind: np.dtype) -> np.ndarray:
    """Return the numbers in a plain file, memory-mapped read-only."""
    return np.memmap(path, dtype=kind, mode="r")


def file_entry(path: Path) -> dict[str, Any]:
    """Return the manifest's entry for a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
