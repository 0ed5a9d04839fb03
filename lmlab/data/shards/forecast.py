"""What preparing a budget's tokens takes: time, disk space and bytes to fetch, from the pass that has begun.

Input: how much a pass has encoded in how many seconds, and how much is left. Output: a forecast, its line, and a refusal where the
disk lacks the space. A token takes two or four bytes; a document BYTES_A_DOCUMENT more, the most of them only until its data set is
complete.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmlab.data.catalogue_entry import HubFolder
from lmlab.data.scan import DOCUMENT
from lmlab.files import require_free_bytes
from lmlab.recipe.quantities import byte_count, count, duration

MEASURED_TOKENS = 2_000_000
"""Tokens after which a pass is measured: a few seconds of work."""
SAID_SECONDS = 10.0
"""Shorter work needs no forecast."""
ASSUMED_TOKENS_A_DOCUMENT = 500.0
UNLIKE = 0.25
"""A mean length of documents that is off the published one by this share is reported."""
BYTES_A_DOCUMENT = 3 * 8 + 2 * 48 + DOCUMENT.itemsize
"""Of the tables of a data set, and of the files that exist while it is prepared."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What a pass over shards has done."""

    tokens: int
    documents: int
    seconds: float
    fetched_bytes: int
    """0 for local files."""


@dataclass(frozen=True, kw_only=True)
class PreparationForecast:
    """What preparing so many more tokens takes."""

    tokens: int
    """Left to prepare."""
    seconds: float
    disk_bytes: int
    fetched_bytes: int
    free_disk_bytes: int
    tokens_per_second: float
    tokens_a_document: float
    published_tokens_a_document: float | None
    """By the counts of the catalogue; None where they don't count these tokens."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def summary(self) -> str:
        """Return time, disk space and bytes to fetch in words."""
        fetched = f", {byte_count(self.fetched_bytes)} to fetch" if self.fetched_bytes else ""
        return (
            f"about {duration(self.seconds)} at {count(self.tokens_per_second)} tokens/s, {byte_count(self.disk_bytes)} of the "
            f"{byte_count(self.free_disk_bytes)} free on the disk{fetched}"
        )

    def doubt(self) -> str:
        """Return a line if the documents so far are unlike those of the whole corpus; else an empty text."""
        published = self.published_tokens_a_document
        if published is None or abs(self.tokens_a_document / published - 1) <= UNLIKE:
            return ""
        return (
            f"its documents so far have {self.tokens_a_document:,.0f} tokens in the mean, those of the whole corpus "
            f"{published:,.0f} by its published counts: the rest may take another time"
        )

    def lines(self) -> list[str]:
        """Return the forecast in sentences."""
        return [
            f"preparing {count(self.tokens)} more tokens takes {self.summary()}",
            *filter(None, [self.doubt()]),
        ]


def forecast(done: Pass, left: int, token_bytes: int, published: float | None, folder: Path) -> PreparationForecast:
    """Return the forecast for `left` more tokens of `token_bytes` each in `folder`, at the rate of the pass that was `done`.

    `published` is the published mean length of a document in these tokens, where known.
    """
    rate = done.tokens / max(1e-9, done.seconds)
    length = done.tokens / max(1, done.documents)
    return PreparationForecast(
        tokens=left,
        seconds=left / max(rate, 1e-9),
        disk_bytes=disk_bytes(left, token_bytes, length),
        fetched_bytes=round(done.fetched_bytes / max(1, done.tokens) * left),
        free_disk_bytes=shutil.disk_usage(folder).free,
        tokens_per_second=rate,
        tokens_a_document=length,
        published_tokens_a_document=published,
    )


def disk_bytes(tokens: int, token_bytes: int, tokens_a_document: float) -> int:
    """Return the disk space that preparing so many tokens takes, temporary files included."""
    return round(tokens * (token_bytes + BYTES_A_DOCUMENT / max(1.0, tokens_a_document)))


def require_disk(tokens: int, token_bytes: int, tokens_a_document: float | None, name: str, folder: Path) -> None:
    """Raise StorageError unless the disk has space for so many more tokens of corpus `name`."""
    needed = disk_bytes(tokens, token_bytes, tokens_a_document or ASSUMED_TOKENS_A_DOCUMENT)
    require_free_bytes(folder, needed, f"preparing {count(tokens)} tokens of {name}")


def published_tokens_a_document(hub: HubFolder | None, tokenizer: str) -> float | None:
    """Return the published mean length of a corpus's documents in tokens of this tokenizer; None if unknown."""
    if hub is None or tokenizer != "gpt2" or not hub.gpt2_tokens or not hub.documents:
        return None
    return hub.gpt2_tokens / hub.documents
