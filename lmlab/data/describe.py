"""What a prepared data set is like: sizes, document lengths, what cropping would lose, duplicates.

Out: plain values, which `lmlab.data.describe_lines` puts into words. Lengths are in tokens of text: the tokens that begin and
end a document aren't counted.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lmlab.data.dataset import Dataset
from lmlab.data.ranges import size
from lmlab.data.scan import skipped_notes
from lmlab.data.survey import LineCounter, carriage_return_notes, list_notes
from lmlab.data.windows import document_windows

BINS_A_DECADE = 6
FEW_LENGTHS = 24
"""Where documents have so few different lengths, a histogram has a bin for each."""
PERCENTILES = (10, 50, 90, 99)
SAMPLE_TOKENS = 60
LINES_TOKENS = 200_000
"""Tokens at the beginning of the training split from which the lines of a text are judged."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long the documents of a split are, in tokens."""

    documents: int
    tokens: int
    shortest: int
    longest: int
    mean: float
    percentiles: dict[int, float]
    """Percentile -> length, for PERCENTILES."""
    edges: tuple[float, ...]
    """Borders of the histogram's bins, one more than counts: evenly spaced in the logarithm, or one length apart."""
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Cropping:
    """What training on one window a document would use, beside packing all documents into one stream of windows."""

    context: int
    longer_documents: int
    """Documents that are longer than the context."""
    longer_share: float
    kept_tokens: int
    """Sum over documents of min(length, context)."""
    kept_share: float
    padding_share: float
    """Of the positions of one window a document, those that hold no token."""
    packing_lost_tokens: int
    """Tokens after the last whole window when all documents are packed: less than one window."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """What cutting each document into windows by itself gives (`lmlab.data.windows`)."""

    context: int
    stride: int
    windows: int
    targets: int
    """Of all windows together; a token counts in each window in which it is one."""
    padding_share: float
    """Of all places for targets, those without one."""
    left_out_tokens: int
    """Behind the last window of their document, and so in none."""


@dataclass(frozen=True, kw_only=True)
class SplitDescription:
    """One split of a data set."""

    name: str
    tokens: int
    documents: int
    bytes: int
    units: int
    unit: str
    bytes_per_token: float | None
    """Of text; None for tokenizers that lose text."""
    lengths: Lengths
    cropping: Cropping
    cutting: Cutting | None
    """None where documents are one stream."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A data set as `lmlab data show` tells it."""

    id: str
    name: str
    folder: str
    corpus: dict[str, Any]
    split: dict[str, Any]
    tokenizer: dict[str, Any]
    duplicates: dict[str, Any]
    extends: tuple[dict[str, Any], ...]
    """The data sets that its tokens begin with, the newest first: `id` and `splits`."""
    splits: tuple[SplitDescription, ...]
    notes: tuple[str, ...]
    """What a user should know before training on it."""
    sample: str
    """How the training split begins."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the counts of training and validation at the top level too."""
        sizes = {f"{split.name}_tokens": split.tokens for split in self.splits}
        return {**asdict(self), **sizes, "tokens": sum(sizes.values()), "vocabulary": self.tokenizer["vocabulary"]}


def describe(dataset: Dataset, context: int, stride: int | None = None) -> Description:
    """Return all that is worth knowing of a data set, with the losses of cropping at `context` tokens.

    `stride` is that of windows of documents, where it was prepared for them (None: the context).
    """
    facts = dataset.facts
    return Description(
        id=dataset.id,
        name=dataset.name,
        folder=str(dataset.folder),
        corpus={key: value for key, value in facts["corpus"].items() if key != "sources"},
        split=facts["split"],
        tokenizer=facts["tokenizer"],
        duplicates=facts["duplicates"],
        extends=tuple(facts.get("extends", [])),
        splits=tuple(_describe_split(dataset, name, context, stride) for name in dataset.splits),
        notes=notes_on(dataset),
        sample=_sample(dataset),
    )


def notes_on(dataset: Dataset) -> tuple[str, ...]:
    """Return what a user should know of how the text was read: files that were passed over, a list read as one document, carriage
    returns.
    """
    corpus, lines = dataset.facts["corpus"], LineCounter()
    if corpus["documents"] == 1 and dataset.lossless:
        lines.add(dataset.text("train", 0, LINES_TOKENS), last=False)
    return (
        *skipped_notes(corpus["skipped_files"], corpus.get("skipped_bytes")),
        *list_notes(corpus["documents"], lines.counts()),
        *carriage_return_notes(bool(corpus.get("carriage_returns"))),
    )


def _sample(dataset: Dataset) -> str:
    """Return the text of the first SAMPLE_TOKENS tokens, each document on a line of its own."""
    starts = dataset.document_starts("train")
    borders = [*starts[: int(np.searchsorted(starts, SAMPLE_TOKENS))].tolist(), min(SAMPLE_TOKENS, int(starts[-1]))]
    return "\n".join(dataset.text("train", begin, end - begin) for begin, end in pairwise(borders))


def _describe_split(dataset: Dataset, name: str, context: int, stride: int | None) -> SplitDescription:
    tokens = len(dataset.tokens(name))
    lengths = document_lengths(dataset, name)
    text_bytes = int(dataset.units(name)["bytes"].sum())
    return SplitDescription(
        name=name,
        tokens=tokens,
        documents=len(lengths),
        bytes=text_bytes,
        units=len(dataset.units(name)),
        unit=dataset.facts["splits"][name]["unit"],
        bytes_per_token=text_bytes / int(lengths.sum()) if dataset.lossless and lengths.sum() else None,
        lengths=summarise(lengths),
        cropping=cropping(lengths, context, tokens),
        cutting=None if dataset.begin_of_text is None else cutting(dataset.document_starts(name), context, stride),
    )


def cutting(starts: np.ndarray, context: int, stride: int | None) -> Cutting:
    """Return what windows of `context` inputs, `stride` apart, make of documents that begin there; `starts` as in a data set."""
    windows = document_windows(starts, context, stride)
    return Cutting(
        context=context,
        stride=windows.stride,
        windows=windows.count,
        targets=windows.targets,
        padding_share=1 - windows.targets / max(1, windows.count * context),
        left_out_tokens=int(starts[-1]) - size(windows.held()),
    )


def document_lengths(dataset: Dataset, split: str) -> np.ndarray:
    """Return int64 [documents]: the tokens of each document's text, without those that begin and end it."""
    starts = dataset.document_starts(split)
    lengths = np.diff(starts) - (dataset.begin_of_text is not None)
    end = dataset.facts["tokenizer"]["end_of_text"]
    if end is None:
        return lengths
    return lengths - (dataset.tokens(split)[np.maximum(starts[1:], 1) - 1] == end)


def summarise(lengths: np.ndarray) -> Lengths:
    """Return count, extremes, mean, percentiles and a histogram whose bins are evenly spaced in the logarithm, or hold one
    length each where there are few.
    """
    low, high = max(1, int(lengths.min())), max(1, int(lengths.max()))
    edges = np.arange(low, high + 2) - 0.5 if high - low < FEW_LENGTHS else _even_edges(low, high)
    counts = np.histogram(np.maximum(lengths, 1), edges)[0]
    return Lengths(
        documents=len(lengths),
        tokens=int(lengths.sum()),
        shortest=int(lengths.min()),
        longest=int(lengths.max()),
        mean=float(lengths.mean()),
        percentiles={percent: float(np.percentile(lengths, percent)) for percent in PERCENTILES},
        edges=tuple(map(float, edges)),
        counts=tuple(map(int, counts)),
    )


def _even_edges(low: int, high: int) -> np.ndarray:
    """Borders of bins from `low` to `high`, evenly spaced in the logarithm."""
    first, last = math.floor(BINS_A_DECADE * math.log10(low)), math.floor(BINS_A_DECADE * math.log10(high)) + 1
    edges = 10.0 ** (np.arange(first, last + 1) / BINS_A_DECADE)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # against rounding in the power
    return edges


def cropping(lengths: np.ndarray, context: int, tokens: int) -> Cropping:
    """Return what of documents of these lengths is left when each is cropped at `context` tokens.

    `tokens` is the length of the packed stream, ends of text included: a window of `context` inputs needs one token
    more, its last target, so packing leaves (tokens - 1) mod context behind.
    """
    kept = np.minimum(lengths, context)
    longer, total = int((lengths > context).sum()), int(lengths.sum())
    return Cropping(
        context=context,
        longer_documents=longer,
        longer_share=longer / len(lengths),
        kept_tokens=int(kept.sum()),
        kept_share=float(kept.sum() / total) if total else 1.0,
        padding_share=1.0 - float(kept.sum()) / (context * len(lengths)),
        packing_lost_tokens=(tokens - 1) % context,
    )
