"""A data set's description as lines for a terminal, and short phrases that distinguish data sets of one text."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from lmlab import printable
from lmlab.data.dataset import Dataset
from lmlab.data.describe import Description, Lengths, SplitDescription

BAR_WIDTH = 40


def lines(description: Description) -> list[str]:
    """Return the description as lines of text for a terminal."""
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
    """Return a line for each data set that this one extends."""
    found = []
    for entry in description.extends:
        sizes = ", ".join(f"{part['tokens']:,} {split}" for split, part in entry["splits"].items())
        found.append(f"  extends     {entry['id']}: its tokens ({sizes}) come first, unchanged")
    return found


def _added_rule(description: Description) -> str:
    """Return a phrase on the split of documents that were added later."""
    return "; what was added later trains" if description.extends and description.split["rule"] != "hash" else ""


def _alphabet(corpus: dict[str, Any]) -> str:
    return "" if corpus["alphabet"] is None else f", {corpus['alphabet']:,} distinct characters"


def duplicates_line(duplicates: dict[str, Any]) -> str:
    """Return one line on the text that is in both training and validation."""
    line = (
        f"{duplicates['documents']:,} of {duplicates['of_documents']:,} validation documents are training documents "
        f"too ({100 * duplicates['share_of_tokens']:.2f}% of its tokens)"
    )
    if duplicates["lines"] is not None:
        line += f"; {duplicates['lines']:,} of {duplicates['of_lines']:,} long lines too"
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
    marks = ", ".join(f"{percent}% up to {value:,.0f}" for percent, value in lengths.percentiles.items())
    found.append(
        f"    document lengths in tokens: {lengths.shortest:,} to {lengths.longest:,}, mean {lengths.mean:,.1f}; "
        f"{marks}"
    )
    found += [f"    {line}" for line in histogram_lines(lengths)]
    found.append(
        f"    cropped at {crop.context:,} tokens: {100 * (1 - crop.kept_share):.2f}% of the tokens are lost, "
        f"{100 * crop.kept_share:.2f}% kept, {100 * crop.longer_share:.2f}% of the documents are longer, "
        f"{100 * crop.padding_share:.1f}% of the positions are padding"
    )
    if split.cutting is None:
        found.append(f"    packed, as lmlab trains: all but the last {crop.packing_lost_tokens:,} tokens")
        return found
    cut = split.cutting
    how = f"cut by themselves, as lmlab trains: {cut.windows:,} windows of {cut.context + 1:,} tokens, {cut.stride:,} apart"
    if cut.cropped:
        how = f"cropped, as lmlab trains: {cut.windows:,} windows of at most {cut.context + 1:,} tokens, one a document"
    found.append(
        f"    {how}; "
        f"{cut.targets:,} targets, {100 * cut.padding_share:.1f}% of the places are padding, {cut.left_out_tokens:,} tokens "
        "are in no window"
    )
    return found


def histogram_lines(lengths: Lengths) -> list[str]:
    """Return a bar for each bin of document lengths."""
    largest = max(lengths.counts)
    labels = [_range(math.ceil(low), math.ceil(high) - 1) for low, high in pairwise(lengths.edges)]
    width = max(map(len, labels))
    return [
        f"{label:>{width}} {_bar(count / largest):<{BAR_WIDTH}} {count:,}"
        for label, count in zip(labels, lengths.counts, strict=True)
    ]


def _range(low: int, high: int) -> str:
    return f"{low:,}-{high:,}" if low < high else f"{low:,}"


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
    """Return how a data set's text was divided into documents, and its settings other than the defaults, in short."""
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
    """Return how a data set's validation split was chosen, in short."""
    split = dataset.facts["split"]
    if split["rule"] == "first":
        return f"first {split['valid_documents']:,} documents"
    tests = f" + {100 * split['test_share']:g}%" if split.get("test_share") else ""
    return "published" if split["rule"] == "parts" else f"{split['rule']} {100 * split['valid_share']:g}%{tests}"


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
    share = f"{100 * split['valid_share']:g}%"
    if split["rule"] == "parts":
        return "published: the corpus comes in parts"
    tests = f", {100 * split['test_share']:g}% test" if split.get("test_share") else ""
    if split["rule"] == "hash":
        return f"hash: {share} of the documents validate{tests}, each by its own SHA-256"
    if split["rule"] == "sequential":
        return f"sequential: the last {share} of the documents validate{tests and tests + ' before them'}"
    if split["rule"] == "first":
        return f"first: the first {split['valid_documents']:,} documents validate"
    cut = f", cut at character {split['cut_characters']:,} of the last document" if split["cut_characters"] else ""
    return f"tail: the last {share} of the characters validate{cut}"
