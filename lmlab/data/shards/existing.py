"""Data sets of shards that exist: the one that has a budget's tokens already, or the longest that a larger budget continues."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data import manifest as shape
from lmlab.data.additions import document_keys
from lmlab.data.building import digest
from lmlab.data.dataset import Dataset, list_datasets, open_dataset
from lmlab.data.facts import data_id
from lmlab.data.scan import DOCUMENT, PARTS
from lmlab.data.shards.encoding import text_sha256
from lmlab.data.shards.forecast import Pass, PreparationForecast
from lmlab.data.shards.journal import read_marks, read_place
from lmlab.data.shards.rows import Place, ShardMark, Shards, marks_match
from lmlab.data.split import SPLITS
from lmlab.files import make_folder, write_json


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a manifest says of the shards of its data set."""

    settings: str
    """The hash of the settings."""
    place: Place
    """The first row after its last document."""
    complete: bool
    """Whether it has all documents of the corpus."""
    marks: list[ShardMark]
    measured: Pass | None
    """What the process that completed it had done; None if it isn't known."""


@dataclass(frozen=True, kw_only=True)
class Existing:
    """What exists for a budget."""

    whole: Dataset | None
    """A data set with all its tokens, the smallest one."""
    beginning: Dataset | None
    """Else one with fewer tokens to continue from, the largest one."""


def prepared_from(dataset: Dataset) -> Prepared | None:
    """Return what the manifest says of its shards; None for a data set that wasn't made from shards, or says it wrongly."""
    value: Any = dataset.manifest.get("shards")
    try:
        return Prepared(
            settings=str(value["settings"]),
            place=read_place(value["place"]),
            complete=value["complete"] is True,
            marks=read_marks(value["files"]),
            measured=_read_pass(value.get("measured")),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _read_pass(value: Any) -> Pass | None:
    """Return the pass in a JSON value; None if it has done nothing, or isn't one."""
    try:
        found = Pass(**{entry.name: value[entry.name] for entry in fields(Pass)})
        numbers = [getattr(found, entry.name) for entry in fields(Pass)]
    except (KeyError, TypeError):
        return None
    if not all(type(number) in (int, float) and 0 <= number < 1 << 60 for number in numbers):
        return None
    return found if found.tokens and found.documents and found.seconds else None


def fitting(settings: str, shards: Shards, tokens: int | None, root: Path) -> Existing:
    """Return the data sets of `root` made with these settings from the beginning of these shards, for so many training tokens."""
    whole: list[Dataset] = []
    shorter: list[Dataset] = []
    for dataset in list_datasets(root):
        prepared = prepared_from(dataset)
        if prepared is None or prepared.settings != settings or not marks_match(prepared.marks, shards):
            continue
        complete = prepared.complete and len(prepared.marks) == len(shards.files)  # else files were added since
        enough = tokens is not None and len(dataset.tokens("train")) >= tokens
        (whole if enough or complete else shorter).append(dataset)
    return Existing(
        whole=min(whole, key=_train_tokens, default=None), beginning=max(shorter, key=_train_tokens, default=None)
    )


class Beginning(Dataset):
    """The beginning of a data set that isn't prepared yet: for plans, which need its documents and the length of the whole."""

    def __init__(self, dataset: Dataset, training_tokens: int, preparation: PreparationForecast) -> None:
        """`dataset` has the first ones of `training_tokens`; `preparation` is what the others take."""
        super().__init__(dataset.folder, dataset.manifest, None if dataset.whole is dataset else dataset.whole)
        self._training_tokens = training_tokens
        self.preparation = preparation

    @property
    def training_tokens(self) -> int:
        """The length of the training split that a run will read."""
        return self._training_tokens


def _train_tokens(dataset: Dataset) -> int:
    return len(dataset.tokens("train"))


def first_tokens(whole: Dataset, tokens: int) -> Dataset:
    """Return the data set of a budget of `tokens` training tokens, of which `whole` has as many or more: itself, or a view of it.

    Its id is the one that it has if it is made for this budget from the start, so that it is the same on every machine.
    """
    have = len(whole.tokens("train"))
    if tokens > have:
        raise LabError(
            f"data.tokens {tokens:,} is more than the {have:,} tokens of the training split: expected at most those"
        )
    if tokens == have:
        return whole
    starts = whole.document_starts("train")
    documents = int(np.searchsorted(starts, tokens))
    made_for_it = whole.id if documents == len(starts) - 1 else _id_of_first(whole, documents)
    identity = made_for_it if int(starts[documents]) == tokens else digest([made_for_it, tokens])[:16]
    folder = whole.folder.with_name(f"{whole.folder.name.removesuffix(whole.id)}{identity}")
    if not (folder / shape.NAME).exists():
        make_folder(folder)
        value = {"format": shape.FORMAT, "id": identity, "view_of": whole.folder.name, "train_tokens": tokens}
        write_json(folder / shape.NAME, value)
    return open_dataset(folder)


def _id_of_first(whole: Dataset, documents: int) -> str:
    """Return the id of the data set with only the first so many training documents."""
    split = whole.facts["split"]
    rule: list[Any] = [split["rule"], split["valid_documents"] if split["rule"] == "first" else split["valid_share"]]
    return data_id(text_sha256(_first_rows(whole, documents)), rule, whole.tokenizer, whole.begin_of_text)


def _first_rows(whole: Dataset, documents: int) -> Iterator[np.ndarray]:
    """Yield the rows of all documents, of the training split the first so many."""
    for split in in_reading_order(whole):
        left = documents if split == "train" else sys.maxsize
        for rows in rows_of(whole, split):
            yield rows[:left]
            left -= len(rows)
            if left <= 0:
                break


def rows_of(dataset: Dataset, split: str) -> Iterator[np.ndarray]:
    """Yield the documents of a split as rows of DOCUMENT, some at a time; their characters aren't known, and 0."""
    sizes, begin = dataset.document_bytes(split), 0
    for keys in document_keys(dataset, split):
        rows = np.zeros(len(keys), DOCUMENT)
        rows["key"], rows["bytes"] = keys, sizes[begin : begin + len(keys)]
        if dataset.facts["split"]["rule"] == "parts":
            rows["part"] = PARTS.index(split)
        yield rows
        begin += len(keys)


def in_reading_order(dataset: Dataset) -> list[str]:
    """Return the splits in the order in which shards are read: training last."""
    return [name for name in (*SPLITS[1:], SPLITS[0]) if name in dataset.splits]
