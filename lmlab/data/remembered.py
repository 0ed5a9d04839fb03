"""The reading settings of earlier data sets of a text, so that settings given once are found again.

datasets_of(resolve(Data(corpus="names.txt"))) -> reading_of(each) -> {"data.separator": "\\n"}
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab.data.building import digest
from lmlab.data.catalogue import CATALOGUE, MARKER
from lmlab.data.dataset import Dataset, list_datasets
from lmlab.data.readers import size_on_disk
from lmlab.data.shards.existing import Prepared, prepared_from
from lmlab.data.sources import Source
from lmlab.recipe import Data

READING = ("data.column", "data.separator", "data.minimum_words", "data.newlines")
"""The settings that determine how files become documents, apart from the tokenizer and the split."""


def datasets_of(source: Source, root: Path | None = None) -> list[Dataset]:
    """Return the data sets in the cache that were prepared from exactly these files, or from the beginning of them (shards), the
    newest last, without views.
    """
    mark = digest(source.fingerprint())
    files = {file.name: size_on_disk(file) for file in source.files}
    found = [
        one
        for one in list_datasets(root)
        if one.facts["corpus"].get("sources_sha256") == mark or _are_of(prepared_from(one), files)
    ]
    return sorted((one for one in found if one.whole is one), key=lambda one: str(one.facts.get("created", "")))


def _are_of(prepared: Prepared | None, files: Mapping[str, int]) -> bool:
    """Return whether the shards that were read are among files of these names and sizes."""
    return prepared is not None and all(files.get(mark.name) == mark.bytes for mark in prepared.marks)


def reading_of(dataset: Dataset) -> dict[str, str]:
    """Return the settings of READING that a data set was prepared with, as text, without those at their defaults."""
    corpus, default = dataset.facts["corpus"], Data()
    found = {
        "data.column": corpus.get("column") or default.column,
        "data.separator": _separator(corpus),
        "data.minimum_words": str(corpus.get("minimum_words") or 0),
        "data.newlines": corpus.get("newlines") or default.newlines,
    }
    return {name: value for name, value in found.items() if value != str(getattr(default, name.partition(".")[2]))}


def words_of(settings: Mapping[str, Any]) -> str:
    """Return settings as command-line flags, each with a space before it."""
    return "".join(f" --{name} {shlex.quote(str(value))}" for name, value in settings.items())


def _separator(corpus: dict[str, Any]) -> str:
    """Return `data.separator` for the rule that divided a corpus into documents."""
    name, _, marker = corpus["documents_rule"].partition(":")
    entry = CATALOGUE.get(corpus["name"])
    if entry is not None and corpus["documents_rule"] == entry.documents:
        return ""
    return "\\n" if name == "lines" else marker if name == "marker" and marker != MARKER else ""
