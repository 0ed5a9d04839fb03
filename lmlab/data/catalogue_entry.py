"""What the catalogue says of a corpus: where it is, its licence, and its published split."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CatalogueFile:
    """One file of a corpus that is downloaded whole, as its source offers it."""

    name: str
    addresses: tuple[str, ...]
    """URLs, tried in order."""
    sha256: str
    bytes: int
    members: tuple[tuple[str, str], ...]
    """(member of the zip archive, or "" for the file itself; its part of the published split, or "")."""


@dataclass(frozen=True, kw_only=True)
class HubFolder:
    """A folder of parquet files on the Hugging Face hub, which are read in ranges and only as far as needed."""

    repository: str
    """Of a data set, such as HuggingFaceFW/fineweb."""
    revision: str
    """The commit, 40 hexadecimal digits: a later one may have other files."""
    folder: str
    documents: int | None = None
    """As published, None if unknown."""
    gpt2_tokens: int | None = None
    """As published, counted with GPT-2's tokenizer, None if unknown."""
    bytes: int | None = None
    """Of its files, None if unknown."""


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A corpus by name. The one that comes with every Python has neither `files` nor `hub`."""

    name: str
    about: str
    licence: str
    home: str
    files: tuple[CatalogueFile, ...] = ()
    hub: HubFolder | None = None
    documents: str = "marker"
    """The rule that divides a text into documents: see `lmlab.data.documents`."""
    published: str = ""
    """parts: the files are the split; tail: the last `published_share` of the characters; empty: none is published."""
    published_share: float = 0.0

    @property
    def bytes(self) -> int:
        """The size of its files, 0 if unknown."""
        return (self.hub.bytes or 0) if self.hub else sum(file.bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return dataclasses.asdict(self)
