"""Preparing a data set from shards, as far as a token budget needs: a larger budget continues a smaller one's data set.

    validation documents, or the published parts   first, so they are the same for every budget
    tokenizer                                       trained on the first training documents, so it is the same, too
    training documents                              until the budget is reached

The data set for N tokens begins with that for any fewer, and its id doesn't depend on how it came about. Continuing copies the
token files (as `lmlab.data.extending` does, and for its reasons) and encodes only what follows.
"""

from __future__ import annotations

import dataclasses

from lmlab import LabError
from lmlab.data.building import lock_path
from lmlab.data.dataset import Dataset
from lmlab.data.shards.existing import Beginning, Existing, first_tokens, fitting, prepared_from
from lmlab.data.shards.forecast import forecast
from lmlab.data.shards.making import make
from lmlab.data.shards.request import Request
from lmlab.files import FileLock

PLANNED_TOKENS = 4_000_000
"""Training tokens of the beginning that a plan rests on, where the whole is more than twice as long."""
ABOVE_PUBLISHED = 1.05
"""A budget this many times the published number of tokens is refused before anything is read."""


def prepare_shards(request: Request) -> Dataset:
    """Return the data set with the budget's training tokens (without one: with all), made as far as needed.

    Raises LabError for a corpus that can't be read, or has fewer tokens, and StorageError if the disk has no space for them.
    """
    found = _existing(request)
    if found.whole is None:
        _require_published(request)
        name = request.source.name
        waiting = f"another process is preparing {name}: waiting for it"
        with FileLock(lock_path(request.plan, request.root), request.progress.say, waiting):
            found = _existing(request)
            while found.whole is None:
                made = make(request, found.beginning)
                # Nothing was made where a killed process had left a whole data set, perhaps for a smaller budget.
                found = _existing(request) if made is None else Existing(whole=made, beginning=None)
    return _cut(found.whole, request)


def prepared_shards(request: Request) -> Dataset | None:
    """Return the data set as `prepare_shards` does if it exists already, else None; fetches nothing."""
    found = _existing(request)
    return None if found.whole is None else _cut(found.whole, request)


def planned_shards(request: Request) -> Dataset:
    """Return the data set as `prepare_shards` does if it exists or is small, else a `Beginning` of it of PLANNED_TOKENS or more
    training tokens, prepared now if necessary.
    """
    found, total = _existing(request), request.total
    if found.whole is not None or total is None or total <= 2 * PLANNED_TOKENS:
        return prepare_shards(request)
    _require_published(request)
    beginning = found.beginning
    if beginning is None or len(beginning.tokens("train")) < PLANNED_TOKENS:
        beginning = prepare_shards(request.with_tokens(PLANNED_TOKENS)).whole
    prepared = prepared_from(beginning)
    if prepared is None or prepared.measured is None:
        return prepare_shards(request)
    tokens = beginning.tokens("train")
    expected = forecast(prepared.measured, total - len(tokens), tokens.itemsize, request.published_length, request.root)
    copied = sum(entry["bytes"] for entry in beginning.manifest["files"].values())
    return Beginning(beginning, total, dataclasses.replace(expected, disk_bytes=expected.disk_bytes + copied))


def _existing(request: Request) -> Existing:
    return fitting(request.key, request.shards(), request.data.tokens, request.root)


def _cut(whole: Dataset, request: Request) -> Dataset:
    tokens = request.data.tokens
    return whole if tokens is None else first_tokens(whole, tokens)


def _require_published(request: Request) -> None:
    """Raise LabError for a budget far above the published number of tokens, which reading the whole corpus would find."""
    tokens, published = request.data.tokens, request.published_tokens
    if tokens is not None and published is not None and tokens > ABOVE_PUBLISHED * published:
        raise LabError(
            f"data.tokens {tokens:,} is more than the {published:,} tokens that {request.source.given} has by its published count: "
            "choose fewer, or a larger corpus (lmlab data show lists them)"
        )
