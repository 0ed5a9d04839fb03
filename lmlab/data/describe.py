"""What a prepared data set is like: sizes, document lengths, what cropping would lose, duplicates.

Out: plain values and lines of text. Lengths are in tokens of text: the tokens that begin and end a document aren't
counted.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lmlab import printable
from lmlab.data.dataset import Dataset
from lmlab.data.ranges import size
from lmlab.data.scan import skipped_notes
from lmlab.data.survey import LineCounter, carriage_return_notes, list_notes
from lmlab.data.windows import document_windows

BINS_A_DECADE = 6
PERCENTILES = (10, 50, 90, 99)
BAR_WIDTH = 40
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
    """Borders of the histogram's bins, evenly spaced in the logarithm: one more than counts."""
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
        """Plain values, with the counts of training and validation at the top level too."""
        sizes = {f"{split.name}_tokens": split.tokens for split in self.splits}
        return {**asdict(self), **sizes, "tokens": sum(sizes.values()), "vocabulary": self.tokenizer["vocabulary"]}


def describe(dataset: Dataset, context: int, stride: int | None = None) -> Description:
    """All that is worth knowing of a data set, with the losses of cropping at `context` tokens.

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
    """What a user should know of how the text was read: files that were passed over, a list read as one document, carriage
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
    """The text of the first SAMPLE_TOKENS tokens, each document on a line of its own."""
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
    """What windows of `context` inputs, `stride` apart, make of documents that begin there; `starts` as in a data set."""
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
    """int64 [documents]: the tokens of each document's text, without those that begin and end it."""
    starts = dataset.document_starts(split)
    lengths = np.diff(starts) - (dataset.begin_of_text is not None)
    end = dataset.facts["tokenizer"]["end_of_text"]
    if end is None:
        return lengths
    return lengths - (dataset.tokens(split)[np.maximum(starts[1:], 1) - 1] == end)


def summarise(lengths: np.ndarray) -> Lengths:
    """Count, extremes, mean, percentiles and a histogram whose bins are evenly spaced in the logarithm."""
    low, high = max(1, int(lengths.min())), max(1, int(lengths.max()))
    first, last = math.floor(BINS_A_DECADE * math.log10(low)), math.floor(BINS_A_DECADE * math.log10(high)) + 1
    edges = 10.0 ** (np.arange(first, last + 1) / BINS_A_DECADE)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # against rounding in the power
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


def cropping(lengths: np.ndarray, context: int, tokens: int) -> Cropping:
    """What of documents of these lengths is left when each is cropped at `context` tokens.

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


def lines(description: Description) -> list[str]:
    """The description as lines of text for a terminal."""
    corpus, tokenizer = description.corpus, description.tokenizer
    found = [
        f"{description.name}  {description.id}",
        f"  corpus      {corpus['name']}: {_count(corpus['documents'], 'document')}, {corpus['characters']:,} characters, "
        f"{corpus['bytes']:,} bytes{_alphabet(corpus)}",
        f"  documents   {_rule(corpus)}{_left_out(corpus)}",
        *_extends_lines(description),
        f"  split       {_split_rule(description.split)}{_added_rule(description)}",
        f"  tokenizer   {tokenizer['name']}, vocabulary {tokenizer['vocabulary']:,}"
        + ("" if tokenizer["lossless"] else " (loses text: no bits per byte)"),
        f"  duplicates  {duplicates_line(description.duplicates)}",
        *(f"  note        {note}" for note in description.notes),
    ]
    for split in description.splits:
        found += ["", *_split_lines(split)]
    return [
        *found,
        "",
        "  the training split begins:",
        *(f"    {line.expandtabs()}" for line in description.sample.splitlines()[:8]),
    ]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _extends_lines(description: Description) -> list[str]:
    """A line for each data set that this one begins with."""
    found = []
    for entry in description.extends:
        sizes = ", ".join(f"{part['tokens']:,} {split}" for split, part in entry["splits"].items())
        found.append(f"  extends     {entry['id']}: its tokens ({sizes}) come first, unchanged")
    return found


def _added_rule(description: Description) -> str:
    """Where documents go that were added later."""
    return "; what was added later trains" if description.extends and description.split["rule"] != "hash" else ""


def _alphabet(corpus: dict[str, Any]) -> str:
    return "" if corpus["alphabet"] is None else f", {corpus['alphabet']:,} distinct characters"


def duplicates_line(duplicates: dict[str, Any]) -> str:
    """One line on what stands in training and validation both."""
    line = (
        f"{duplicates['documents']:,} of {duplicates['of_documents']:,} validation documents are training documents "
        f"too ({100 * duplicates['share_of_tokens']:.2f} % of its tokens)"
    )
    if duplicates["lines"] is not None:
        line += f"; {duplicates['lines']:,} of {duplicates['of_lines']:,} long lines"
    return line


def _split_lines(split: SplitDescription) -> list[str]:
    lengths, crop = split.lengths, split.cropping
    density = f", {split.bytes_per_token:.2f} bytes a token" if split.bytes_per_token is not None else ""
    found = [
        f"  {split.name}: {split.tokens:,} tokens, {_count(split.documents, 'document')}, {split.bytes:,} bytes{density}, "
        f"{_count(split.units, 'unit')} ({split.unit})"
    ]
    if split.documents == 1:
        return found
    marks = ", ".join(f"{percent} % up to {value:,.0f}" for percent, value in lengths.percentiles.items())
    found.append(
        f"    document lengths in tokens: {lengths.shortest:,} to {lengths.longest:,}, mean {lengths.mean:,.1f}; "
        f"{marks}"
    )
    found += [f"    {line}" for line in histogram_lines(lengths)]
    found.append(
        f"    cropped at {crop.context:,} tokens: {100 * crop.kept_share:.2f} % of the tokens are kept, "
        f"{100 * crop.longer_share:.2f} % of the documents are longer, "
        f"{100 * crop.padding_share:.1f} % of the positions are padding"
    )
    if split.cutting is None:
        found.append(f"    packed, as lmlab trains: all but the last {crop.packing_lost_tokens:,} tokens")
        return found
    cut = split.cutting
    found.append(
        f"    cut by themselves, as lmlab trains: {cut.windows:,} windows of {cut.context + 1:,} tokens, {cut.stride:,} apart; "
        f"{cut.targets:,} targets, {100 * cut.padding_share:.1f} % of the places are padding, {cut.left_out_tokens:,} tokens "
        "are in no window"
    )
    return found


def histogram_lines(lengths: Lengths) -> list[str]:
    """A bar for each bin of document lengths."""
    largest = max(lengths.counts)
    labels = [
        f"{math.ceil(low):,}-{max(math.ceil(low), math.ceil(high) - 1):,}"
        for low, high in zip(lengths.edges, lengths.edges[1:], strict=False)
    ]
    width = max(map(len, labels))
    return [
        f"{label:>{width}} {_bar(count / largest):<{BAR_WIDTH}} {count:,}"
        for label, count in zip(labels, lengths.counts, strict=True)
    ]


def _bar(share: float) -> str:
    eighths = round(share * BAR_WIDTH * 8)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def _rule(corpus: dict[str, Any]) -> str:
    rule = printable(corpus["documents_rule"])
    name, _, marker = rule.partition(":")
    if name == "marker" and corpus["documents"] == 1:
        return "the text is one document; for one a line: --data.separator '\\n'"
    return {
        "marker": f"a line {marker} ends a document; a file without such a line is one document",
        "lines": "each line is a document",
        "articles": "each article is a document",
        "file": "each file is a document",
        "records": "each record is a document",
    }.get(name, rule)


def documents_in_short(dataset: Dataset) -> str:
    """How a data set's text was divided into documents, and read otherwise than by default: what tells it from others."""
    corpus = dataset.facts["corpus"]
    name, _, marker = printable(corpus["documents_rule"]).partition(":")
    count = corpus["documents"]
    each = {"lines": "a line each", "articles": "an article each", "file": "a file each", "records": "a record each"}
    how = [each.get(name, f"ended by {marker}" if count > 1 else "")]
    how += ["line breaks as \\n"] if corpus.get("newlines") == "lf" else []
    how += [f"of {corpus['minimum_words']:,} words or more"] if corpus.get("minimum_words") else []
    how += ["windows of documents"] if dataset.begin_of_text is not None else []
    how += [f"the first {len(dataset.tokens('train')):,} tokens"] if dataset.whole is not dataset else []
    how += ["extended"] if dataset.facts.get("extends") else []
    return ", ".join([f"{count:,}", *filter(None, how)])


def split_in_short(dataset: Dataset) -> str:
    """How a data set's validation split was chosen."""
    split = dataset.facts["split"]
    return "published" if split["rule"] == "parts" else f"{split['rule']} {100 * split['valid_share']:g} %"


def _left_out(corpus: dict[str, Any]) -> str:
    parts = []
    if corpus["empty_documents"]:
        parts.append(f"{corpus['empty_documents']:,} without text left out")
    if corpus.get("minimum_words"):
        few = corpus.get("short_documents") or 0
        parts.append(f"{few:,} with fewer than {corpus['minimum_words']:,} words left out")
    if corpus["left_out_files"]:
        parts.append(f"{len(corpus['left_out_files']):,} files of no split left out")
    if corpus["forced_cuts"]:
        parts.append(f"{corpus['forced_cuts']:,} cut inside a word for want of white space")
    return f" ({', '.join(parts)})" if parts else ""


def _split_rule(split: dict[str, Any]) -> str:
    share = f"{100 * split['valid_share']:g} %"
    if split["rule"] == "parts":
        return "published: the corpus comes in parts"
    if split["rule"] == "hash":
        return f"hash: {share} of the documents validate, each by its own SHA-256"
    cut = f", cut at character {split['cut_characters']:,} of the last document" if split["cut_characters"] else ""
    return f"tail: the last {share} of the characters validate{cut}"
