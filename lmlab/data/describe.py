"""Description of a prepared data set: sizes, document lengths, losses from cropping, duplicates.

The result is plain values, which `lmlab.data.describe_lines` formats. Lengths are in tokens of text, without the tokens that begin
and end a document.
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
"""With at most so many different lengths, a histogram has one bin for each."""
PERCENTILES = (10, 50, 90, 99)
SAMPLE_TOKENS = 60
LINES_TOKENS = 200_000
"""Number of first training tokens from which the lines of a text are judged."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The document lengths of a split, in tokens."""

    documents: int
    tokens: int
    shortest: int
    longest: int
    mean: float
    percentiles: dict[int, float]
    """Percentile -> length, for PERCENTILES."""
    edges: tuple[float, ...]
    """Edges of the histogram's bins, one more than counts: evenly spaced in the logarithm, or one length apart."""
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Cropping:
    """What training on one window per document would use, compared with packing all documents into one stream of windows."""

    context: int
    longer_documents: int
    """Documents longer than the context."""
    longer_share: float
    kept_tokens: int
    """Sum over documents of min(length, context)."""
    kept_share: float
    padding_share: float
    """Share of the positions of one window per document that hold no token."""
    packing_lost_tokens: int
    """Tokens after the last whole window if all documents are packed: less than one window."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """The result of cutting each document into windows separately (`lmlab.data.windows`)."""

    context: int
    stride: int
    cropped: bool
    """Whether each document has its first window alone."""
    windows: int
    targets: int
    """Total over all windows; a token counts in each window in which it is a target."""
    padding_share: float
    """Share of the target positions without a target."""
    left_out_tokens: int
    """Tokens after the last window of their document, which are in no window."""


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
    """None for tokenizers that lose text."""
    lengths: Lengths
    cropping: Cropping
    cutting: Cutting | None
    """None if documents are one stream."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A data set as `lmlab data show` describes it."""

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
    """The beginning of the training split."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the token counts of the splits at the top level too."""
        sizes = {f"{split.name}_tokens": split.tokens for split in self.splits}
        return {**asdict(self), **sizes, "tokens": sum(sizes.values()), "vocabulary": self.tokenizer["vocabulary"]}


def describe(dataset: Dataset, context: int, stride: int | None = None, cropped: bool = False) -> Description:
    """Return the description of a data set, with the losses from cropping at `context` tokens.

    `stride` is that of windows of documents, if it was prepared for them (None: the context); with `cropped` each document has
    one window.
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
        splits=tuple(_describe_split(dataset, name, context, stride, cropped) for name in dataset.splits),
        notes=notes_on(dataset),
        sample=_sample(dataset),
    )


def notes_on(dataset: Dataset) -> tuple[str, ...]:
    """Return what a user should know about how the text was read: skipped files, a list read as one document, carriage returns."""
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


def _describe_split(dataset: Dataset, name: str, context: int, stride: int | None, cropped: bool) -> SplitDescription:
    tokens = len(dataset.tokens(name))
    lengths = document_lengths(dataset, name)
    text_bytes = int(dataset.units(name)["bytes"].sum())
    starts = dataset.document_starts(name)
    as_stream = dataset.begin_of_text is None and dataset.conversations is None
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
        cutting=None if as_stream else cutting(starts, context, stride, cropped or dataset.conversations is not None),
    )


def cutting(starts: np.ndarray, context: int, stride: int | None, cropped: bool = False) -> Cutting:
    """Return the result of cutting documents, given their `starts` as in a data set, into windows of `context` inputs, `stride`
    apart, or with `cropped` into one window each.
    """
    windows = document_windows(starts, context, stride, cropped=cropped)
    return Cutting(
        context=context,
        stride=windows.stride,
        cropped=cropped,
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
    found: np.ndarray = lengths - (dataset.tokens(split)[np.maximum(starts[1:], 1) - 1] == end)
    return found


def summarise(lengths: np.ndarray) -> Lengths:
    """Return count, extremes, mean, percentiles and a histogram of the lengths, whose bins are evenly spaced in the logarithm,
    or hold one length each if there are few.
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
    """Return edges of bins from `low` to `high`, evenly spaced in the logarithm."""
    first, last = math.floor(BINS_A_DECADE * math.log10(low)), math.floor(BINS_A_DECADE * math.log10(high)) + 1
    edges = 10.0 ** (np.arange(first, last + 1) / BINS_A_DECADE)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # corrects rounding in the power
    return edges


def cropping(lengths: np.ndarray, context: int, tokens: int) -> Cropping:
    """Return what is kept of documents of these lengths if each is cropped at `context` tokens.

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
