"""A prepared data set, opened read-only: tokens and tables are memory-mapped, never read whole.

A data set may be a *view*: a folder with only a manifest, which is another data set with a shorter training split.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data import manifest as shape
from lmlab.data.token_files import tokens_file
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.data.units import UNIT
from lmlab.files import cache_folder, read_json, sha256_of_file
from lmlab.files.arrays import kind_text, map_rows, read_rows_header

TOKENS_A_TIME = ROWS_A_TIME = 1 << 22


class Dataset:
    """A prepared data set: the tokens of each split, the starts of documents and units, and the tokenizer."""

    def __init__(self, folder: Path, manifest: dict[str, Any], base: Dataset | None = None) -> None:
        self.folder = folder
        self.manifest = manifest
        self.id: str = manifest["id"]
        self._base = base
        self._home: Path = base.folder if base else folder
        self._facts: dict[str, Any] = base.manifest if base else manifest
        self._limit: int | None = manifest["train_tokens"] if base else None
        self._opened: dict[str, np.ndarray] = {}

    @property
    def name(self) -> str:
        """The corpus's short name."""
        found: str = self._facts["corpus"]["name"]
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """The full manifest, of the data set itself or of the one that this is a view of."""
        return self._facts

    @property
    def whole(self) -> Dataset:
        """The data set that this is a view of, or itself."""
        return self._base or self

    @property
    def ancestry(self) -> tuple[tuple[str, int], ...]:
        """(id, training tokens) of this data set, of the one that it is a view of, and of each that their tokens begin with."""
        own = [(one.id, len(one.tokens("train"))) for one in dict.fromkeys((self, self.whole))]
        extended = self._facts.get("extends", [])
        return (*own, *((entry["id"], entry["splits"]["train"]["tokens"]) for entry in extended))

    @property
    def training_tokens(self) -> int:
        """The length of the training split that a run reads."""
        return len(self.tokens("train"))

    @property
    def splits(self) -> tuple[str, ...]:
        """train, valid, and test if present."""
        return tuple(self._facts["splits"])

    @property
    def vocabulary_size(self) -> int:
        """The number of token ids."""
        found: int = self._facts["tokenizer"]["vocabulary"]
        return found

    @property
    def begin_of_text(self) -> int | None:
        """The token that begins each document if documents are read separately; None if they are one stream."""
        found: int | None = self._facts["tokenizer"].get("begin_of_text")
        return found

    @property
    def end_of_text(self) -> int | None:
        """The token after each document; None if there is none."""
        found: int | None = self._facts["tokenizer"].get("end_of_text")
        return found

    @property
    def lossless(self) -> bool:
        """Whether the tokens can be decoded to the exact text, so that bits per byte are defined."""
        found: bool = self._facts["tokenizer"]["lossless"]
        return found

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the tokens."""
        found = load_tokenizer(read_json(self._home / shape.TOKENIZER))
        if found.vocabulary_size != self.vocabulary_size:
            raise LabError(
                f"{self._home / shape.TOKENIZER} has {found.vocabulary_size:,} tokens, the manifest states "
                f"{self.vocabulary_size:,}: prepare the data again"
            )
        return found

    def token_bytes(self) -> np.ndarray | None:
        """Return int32 [vocabulary]: the bytes of text of each id; None for tokenizers that lose text."""
        return self.tokenizer.token_bytes() if self.lossless else None

    def tokens(self, split: str) -> np.ndarray:
        """Return the tokens of a split, uint16 or uint32 [tokens], memory-mapped."""
        whole = self._whole(split)
        return whole[: self._limit] if split == "train" else whole

    @property
    def conversations(self) -> dict[str, Any] | None:
        """For a data set of conversations its `template`, the records without an answer that were left out (`unanswered`), and the
        number of conversations of `several_turns`; None for plain text.
        """
        found: dict[str, Any] | None = self._facts.get("conversations")
        return found

    def responses(self, split: str) -> np.ndarray:
        """Return bool [tokens], memory-mapped: the tokens of conversations that the model writes."""
        path = self._file(split, shape.responses_file)
        if path.name not in self._opened:
            marks = np.memmap(path, dtype=np.uint8, mode="r")
            parts = (marks[first : first + TOKENS_A_TIME] for first in range(0, len(marks), TOKENS_A_TIME))
            if any(int(part.max()) > 1 for part in parts):
                raise LabError(f"{path} is damaged, expected bytes of 0 and 1: prepare the data again")
            self._opened[path.name] = marks.view(np.bool_)
        return self._opened[path.name]

    def document_starts(self, split: str) -> np.ndarray:
        """Return int64 [documents + 1]: the first token of each document, and the number of tokens."""
        documents, tokens = self._facts["splits"][split]["documents"], len(self._whole(split))
        starts = self._starts(split, shape.documents_file, np.dtype("<i8"), documents + 1, tokens)
        if split == "train" and self._limit is not None:
            starts = np.append(starts[: np.searchsorted(starts, self._limit)], self._limit)
        return starts

    def document_bytes(self, split: str) -> np.ndarray:
        """Return int64 [documents]: the bytes of text in each document; for the last one of a view those of the whole document."""
        sizes = self._table(split, shape.bytes_file, np.dtype("<i8"), self._facts["splits"][split]["documents"])
        return sizes[: len(self.document_starts(split)) - 1] if split == "train" and self._limit is not None else sizes

    def units(self, split: str) -> np.ndarray:
        """Return structured [units]: key V32 (SHA-256 of the text), bytes i8, start i8 (the first token).

        A unit that is cut by the end of a view keeps its key; its bytes are those of its remaining tokens.
        """
        units = self._starts(split, shape.units_file, UNIT, self._facts["splits"][split]["units"], None)
        if split != "train" or self._limit is None:
            return units
        units = np.array(units[: np.searchsorted(units["start"], self._limit)])
        sizes = self.token_bytes()
        if sizes is not None:
            units["bytes"][-1] = min(
                units["bytes"][-1], sizes[self.tokens("train")[units["start"][-1] :].astype(np.int64)].sum()
            )
        return units

    def text(self, split: str, first: int, count: int) -> str:
        """Return the text of `count` tokens starting at token `first`."""
        return self.tokenizer.decode(self.tokens(split)[first : first + count].astype(np.int64).tolist())

    def verify(self) -> None:
        """Read everything; raises LabError with the file whose bytes changed or whose content is invalid."""
        if self._base is not None:
            self._base.verify()
            return
        for name, entry in self.manifest["files"].items():
            if sha256_of_file(self.folder / name) != entry["sha256"]:
                raise LabError(
                    f"{self.folder / name} is damaged, its SHA-256 changed: delete {self.folder} and prepare again"
                )
        for split in self.splits:
            tokens = self.tokens(split)
            self.document_starts(split)
            self.units(split)
            if self.conversations is not None:
                self.responses(split)
            largest = max(
                int(tokens[begin : begin + TOKENS_A_TIME].max()) for begin in range(0, len(tokens), TOKENS_A_TIME)
            )
            if largest >= self.vocabulary_size:
                raise LabError(
                    f"{self.folder}: {split} has token {largest}, expected at most {self.vocabulary_size - 1}"
                )
        self._verify_what_is_extended()

    def _verify_what_is_extended(self) -> None:
        """Raise LabError unless the tokens begin with those of each data set that this one extends."""
        width = shape.TOKEN_TYPES[self.manifest["token_type"]]
        for entry in self.manifest.get("extends", []):
            for split, part in entry["splits"].items():
                path = self.folder / tokens_file(split)
                if sha256_of_file(path, part["tokens"] * width) != part["sha256"]:
                    tokens = f"{part['tokens']:,} tokens of data set {entry['id']}"
                    raise LabError(f"{path} does not begin with the {tokens}: extend again")

    def _whole(self, split: str) -> np.ndarray:
        """Return all tokens of a split, even if this is a view of its beginning."""
        if split not in self._opened:
            kind = np.dtype(self._facts["token_type"]).newbyteorder("<")
            self._opened[split] = np.memmap(self._file(split, tokens_file), dtype=kind, mode="r")
        return self._opened[split]

    def _file(self, split: str, named: Any) -> Path:
        if split not in self.splits:
            raise LabError(f"{self.name} has no split '{split}': expected one of {', '.join(self.splits)}")
        found: Path = self._home / named(split)
        return found

    def _table(self, split: str, named: Any, kind: np.dtype, length: int) -> np.ndarray:
        path = self._file(split, named)
        if path.name not in self._opened:
            header = read_rows_header(path)
            if not header.holds(kind) or header.rows != length:
                raise LabError(
                    f"{path} holds {header.rows:,} rows of {header.kind[:80]}, expected {length:,} of {kind_text(kind)}: "
                    "prepare the data again"
                )
            self._opened[path.name] = map_rows(path, header, kind)
        return self._opened[path.name]

    def _starts(self, split: str, named: Any, kind: np.dtype, length: int, last: int | None) -> np.ndarray:
        """Return a table of first tokens, or with a column of them, validated at the first access since they are used as
        indices.
        """
        path = self._file(split, named)
        seen = path.name in self._opened
        table = self._table(split, named, kind, length)
        starts = table if kind.names is None else table["start"]
        if not seen and not _ascend(starts, len(self._whole(split)), last):
            del self._opened[path.name]
            raise LabError(f"{path} is damaged, its first tokens are out of order: prepare the data again")
        return table


def open_dataset(reference: str | Path, root: Path | None = None) -> Dataset:
    """Return the data set in a folder, or with an id in the cache; raises LabError if it's missing or invalid."""
    folder = Path(reference)
    if not os.path.exists(folder / shape.NAME):
        if shape.ID.fullmatch(str(reference)):
            return find_dataset(str(reference), root)
        raise LabError(
            f"{str(reference)[:200]} is not a prepared data set: expected a folder with {shape.NAME}, or an id (16 hex digits)"
        )
    manifest = shape.read_manifest(folder)
    if "view_of" not in manifest:
        return Dataset(folder, manifest)
    base = Dataset(folder.parent / manifest["view_of"], shape.read_manifest(folder.parent / manifest["view_of"]))
    if "view_of" in base.manifest or manifest["train_tokens"] > len(base.tokens("train")):
        raise LabError(f"{folder} is a view that does not fit {base.folder.name}: prepare the data again")
    return Dataset(folder, manifest, base)


def find_dataset(identity: str, root: Path | None = None) -> Dataset:
    """Return the prepared data set with that id; raises LabError if the cache has none."""
    place = datasets_folder(root)
    if shape.ID.fullmatch(identity):
        for folder in sorted(place.glob(f"*-{identity}")):
            return open_dataset(folder)
    raise LabError(f"there is no data set {identity} in {place}: prepare it with lmlab data prepare NAME")


def is_reference(text: str) -> bool:
    """Return whether `text` names a prepared data set, by id or folder, rather than a corpus."""
    folder = Path(text)
    if not os.path.exists(folder):
        return shape.ID.fullmatch(text) is not None
    return shape.FOLDER.fullmatch(folder.resolve().name) is not None and (folder / shape.NAME).is_file()


def list_datasets(root: Path | None = None) -> list[Dataset]:
    """Return every prepared data set in the cache that can be opened, by name."""
    found = []
    for folder in sorted(datasets_folder(root).glob("[!.]*-*")):  # hidden folders are being built or removed
        try:
            found.append(open_dataset(folder))
        except LabError:
            continue
    return found


def datasets_folder(root: Path | None = None) -> Path:
    """Return the folder of prepared data sets."""
    return (root or cache_folder()) / "datasets"


def _ascend(starts: np.ndarray, tokens: int, last: int | None) -> bool:
    """Return whether first tokens start at 0, never decrease, and end at most at `tokens` (`last`: exactly there)."""
    if len(starts) == 0 or int(starts[0]) != 0 or int(starts[-1]) > tokens:
        return False
    if last is not None and int(starts[-1]) != last:
        return False
    parts = (starts[begin : begin + ROWS_A_TIME + 1] for begin in range(0, len(starts), ROWS_A_TIME))
    return all((np.diff(part) >= 0).all() for part in parts)
