"""How far a data set of shards has been prepared: stored in its work folder after every shard of work, read by the next process."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.shards.rows import Place, ShardMark
from lmlab.data.split import SPLITS
from lmlab.files import read_json, write_json

NAME = "shards.json"
LARGEST_BYTES = 16_000_000
COUNTS = ("characters", "bytes", "empty_documents", "short_documents", "forced_cuts")


@dataclass
class ShardsJournal:
    """What the files of a work folder hold, and where reading goes on."""

    place: Place = Place()
    tokens: list[int] = field(default_factory=lambda: [0] * len(SPLITS))
    documents: list[int] = field(default_factory=lambda: [0] * len(SPLITS))
    characters: int = 0
    bytes: int = 0
    empty_documents: int = 0
    short_documents: int = 0
    forced_cuts: int = 0
    carriage_returns: bool = False
    complete: bool = False
    """Whether the corpus has no more documents."""
    marks: list[ShardMark] = field(default_factory=list)
    """Of the shards that were read, the first ones."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        value = dataclasses.asdict(self)
        return {**value, "place": list(self.place), "marks": [mark.to_json() for mark in self.marks]}


def write_journal(work: Path, journal: ShardsJournal) -> None:
    """Store the journal in the work folder."""
    write_json(work / NAME, journal.to_json())


def read_journal(work: Path) -> ShardsJournal | None:
    """Return the journal that an earlier process left, None if there is none; raises LabError if it's damaged."""
    if not (work / NAME).exists():
        return None
    value = read_json(work / NAME, LARGEST_BYTES)
    try:
        return _journal(value)
    except (KeyError, TypeError, ValueError):
        raise LabError(f"{work / NAME} is damaged: delete {work} and prepare again") from None


def _journal(value: Any) -> ShardsJournal:
    """Return the journal in a JSON value; raises KeyError, TypeError or ValueError if it isn't one."""
    return ShardsJournal(
        place=read_place(value["place"]),
        tokens=_counts(value["tokens"]),
        documents=_counts(value["documents"]),
        **{name: _count(value[name]) for name in COUNTS},
        carriage_returns=_truth(value["carriage_returns"]),
        complete=_truth(value["complete"]),
        marks=read_marks(value["marks"]),
    )


def read_place(value: Any) -> Place:
    """Return the place in a JSON value; raises TypeError or ValueError if it isn't one."""
    shard, group, row = value
    return Place(_count(shard), _count(group), _count(row))


def read_marks(value: Any) -> list[ShardMark]:
    """Return the marks in a JSON value; raises KeyError, TypeError or ValueError if it isn't a list of them."""
    found = [ShardMark(entry["name"], _count(entry["bytes"]), entry["sha256"]) for entry in value]
    if not all(isinstance(mark.name, str) and isinstance(mark.sha256, str) for mark in found):
        raise ValueError("a name or a hash is no text")
    return found


def _counts(value: Any) -> list[int]:
    if not isinstance(value, list) or len(value) != len(SPLITS):
        raise ValueError("a count for each split was expected")
    return [_count(entry) for entry in value]


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 60:
        raise ValueError("a count was expected")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false was expected")
    return value
