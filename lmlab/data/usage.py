"""The tokens of a training split that runs have used, computed exactly from their records.

Input: for each run the data set, seed, order, context and the range of its sequences (`Use`), oldest first. Output: the tokens
in its windows, as inputs or targets, as ranges (`lmlab.data.ranges`); or those in no window of any run.

A window of `context` inputs from token s contains the tokens s to s + context: the last is its last target. Sequences
whose update was skipped had no effect, and their tokens count as unused.

Data sets are of one family if one is the beginning of the other: it was extended (`lmlab.data.extending`), or is a view
of its first tokens. A token then has the same position in both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.data.fresh import fresh_windows
from lmlab.data.order import epoch_length, shifts, window_starts
from lmlab.data.ranges import Ranges, no_tokens, outside, ranges, union, within
from lmlab.data.windows import Windows

Ancestry = tuple[tuple[str, int], ...]
"""(id, training tokens) of a data set, then of each that its tokens begin with or that it is a view of; `Dataset.ancestry`."""

SEQUENCES_A_TIME = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a run has read of its training split."""

    data: Ancestry
    seed: int
    order: str
    context: int
    cursor: tuple[int, int]
    """The first sequence of the stream, and the one after the last."""
    skipped: tuple[tuple[int, int], ...] = ()
    """Ranges of sequences whose update was skipped."""
    fresh: bool = False
    """Whether its stream read what earlier uses had left unused (`data.fresh`)."""
    windows: str = "stream"
    """What was divided into windows: the split as one stream, or its documents, which are needed to know the tokens of a window."""
    stride: int | None = None

    @property
    def tokens(self) -> int:
        """The length of the training split in tokens."""
        return self.data[0][1]

    def sequences(self) -> list[tuple[int, int]]:
        """Return the ranges of sequences whose update was applied."""
        first, end = self.cursor
        skipped = ranges([pair[0] for pair in self.skipped], [pair[1] for pair in self.skipped])
        return [(int(begin), int(stop)) for begin, stop in outside(skipped, first, end)]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        data = [{"id": identity, "train_tokens": tokens} for identity, tokens in self.data]
        return {**dataclasses.asdict(self), "data": data}


def read_use(value: Any) -> Use:
    """Return the use that `to_json` converted; raises LabError if the value is invalid."""
    try:
        return Use(
            data=read_ancestry(value["data"]),
            seed=int(value["seed"]),
            order=str(value["order"]),
            context=int(value["context"]),
            cursor=_pair(value["cursor"]),
            skipped=tuple(map(_pair, value["skipped"])),
            fresh=bool(value["fresh"]),
            windows=str(value.get("windows", "stream")),
            stride=None if value.get("stride") is None else int(value["stride"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(
            f"data_used in the run's summary.json or origin.json is damaged ({error!r}): put the file back from a copy, or train "
            "without data.fresh"
        ) from None


def read_ancestry(value: Any) -> Ancestry:
    """Return the ancestry from a non-empty list of `id` and `train_tokens`; raises KeyError, TypeError or ValueError if it is
    invalid.
    """
    found = tuple((str(entry["id"]), int(entry["train_tokens"])) for entry in value)
    if not found:
        raise ValueError("no data set")
    return found


def shared_tokens(one: Ancestry, other: Ancestry) -> int:
    """Return the number of first tokens that both training splits have in common; 0 if they are not of one family."""
    theirs = dict(other)
    common = max((min(tokens, theirs[identity]) for identity, tokens in one if identity in theirs), default=0)
    return min(common, one[0][1], other[0][1])


def unused(uses: Sequence[Use], data: Ancestry) -> Ranges:
    """Return the tokens of `data`'s training split that are in none of the uses, given oldest first."""
    used = no_tokens()
    for use, found in zip(uses, used_by_each(uses), strict=True):
        used = union(used, within(found, shared_tokens(use.data, data)))
    return outside(used, 0, data[0][1])


def used_by_each(uses: Sequence[Use]) -> list[Ranges]:
    """Return the tokens in each use, in its own data set. The windows of a fresh one follow from the uses before it."""
    found: list[Ranges] = []
    for use in uses:
        if not use.fresh:
            found.append(used_by(use))
            continue
        used = no_tokens()
        for before, held in zip(uses, found, strict=False):
            used = union(used, within(held, shared_tokens(before.data, use.data)))
        found.append(used_by(use, fresh_windows(outside(used, 0, use.tokens), use.context)))
    return found


def used_by(use: Use, windows: Windows | None = None) -> Ranges:
    """Return the tokens in one use; `windows` are those of its stream if it didn't read the whole split as one stream.

    Raises LabError for windows of documents that aren't given, and for the order `documents`.
    """
    if windows is None and (use.windows != "stream" or use.order == "documents"):
        how = "windows of documents" if use.windows != "stream" else "data.order documents"
        raise LabError(
            f"a run read data set {use.data[0][0]} in {how}, whose tokens are unknown without the documents: leave data.fresh out"
        )
    read = _reader(use) if windows is None else _windows_reader(use, windows)
    length = epoch_length(use.order, use.tokens, use.context) if windows is None else windows.epoch
    found = no_tokens()
    for first, end in use.sequences():
        if length < 1:
            raise LabError(
                f"no window of {use.context:,} tokens fits into what a run reports to have read of {use.data[0][0]}"
            )
        begin, stop = -(-first // length), end // length
        if begin < stop and (windows is not None or use.order != "random"):
            whole = windows.held() if windows is not None else _whole_epochs(use, begin, stop)
            found = union(found, whole)
            parts = [(first, begin * length), (stop * length, end)]
        else:
            parts = [(first, end)]
        for part in parts:
            found = union(found, _of_windows(read, *part))
    return found


Reader = Callable[[int, int], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""(first sequence, count) -> first token of each sequence, and the token after its last."""


def _reader(use: Use) -> Reader:
    def read(first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        starts = window_starts(use.order, use.seed, use.tokens, use.context, first, count)
        return starts, starts + use.context + 1

    return read


def _windows_reader(use: Use, windows: Windows) -> Reader:
    return lambda first, count: windows.at(use.seed, first, count)


def _whole_epochs(use: Use, first: int, end: int) -> Ranges:
    """Return all windows of the epochs [first, end). Their shifts differ by less than a window, so their union has no gap."""
    length = epoch_length(use.order, use.tokens, use.context) * use.context + 1
    if use.order != "shifted":
        return ranges([0], [length])
    found = no_tokens()
    for begin in range(first, end, SEQUENCES_A_TIME):
        offsets = shifts(use.seed, use.tokens, use.context, begin, min(SEQUENCES_A_TIME, end - begin))
        found = union(found, ranges(offsets, offsets + length))
    return found


def _of_windows(read: Reader, first: int, end: int) -> Ranges:
    found = no_tokens()
    for begin in range(first, end, SEQUENCES_A_TIME):
        found = union(found, ranges(*read(begin, min(SEQUENCES_A_TIME, end - begin))))
    return found


def _pair(value: Any) -> tuple[int, int]:
    first, end = value
    return int(first), int(end)
