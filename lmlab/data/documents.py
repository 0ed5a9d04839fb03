"""Dividing a corpus into documents, as a stream of pieces: nothing here holds more than a piece of the text at a time.

The rule of a text file divides it into documents:

- `marker:LINE`: a line that is exactly LINE ends a document; it and the line breaks around it are dropped.
- `lines`: every line is a document.
- `articles`: WikiText's layout, where ` = Title = ` between two blank lines begins a document.
- `file`: a file is one document.

A record of JSONL or parquet is a document; in parquet with the rule `articles` a row is a line. Documents of only white
space are dropped and counted, and so are those with fewer words than the minimum.

A long document is yielded in several pieces. It is cut before a space or line break that is followed by something other
than white space: at every such place GPT-2's pre-tokenisation ends one pre-token and begins the next, and so do words,
characters and bytes. Encoding the pieces therefore gives the same tokens as encoding the whole document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from lmlab import LabError
from lmlab.data.catalogue import MARKER
from lmlab.data.parquet import parquet_documents
from lmlab.data.progress import Progress, Silent
from lmlab.data.readers import NotUTF8, SourceFile, jsonl_documents, size_on_disk, text_chunks
from lmlab.recipe.data import NewlinesName

PIECE_CHARACTERS = 1 << 18
UNCUT_CHARACTERS = 1 << 26
"""Text without a safe place to cut is cut after this many characters (64 Mi), and the cut is counted."""

STRIPPED_CHARACTERS = 4096

LINE_BREAKS = "\r\n"
HEADING = re.compile(r" = [^=\n]([^\n]*[^=\n])? = ?\r?\n?")


class Piece(NamedTuple):
    """A part of a document; `last` if the document ends with it."""

    text: str
    last: bool
    part: str


@dataclass
class ReadingFindings:
    """What a pass over the corpus found besides documents."""

    empty_documents: int = 0
    short_documents: int = 0
    """Documents left out because they have too few words."""
    forced_cuts: int = 0
    skipped_files: list[str] = field(default_factory=list)
    """Files skipped because they aren't UTF-8."""
    skipped_bytes: int = 0
    """Size of these files on the disk."""


def rule_of(separator: str, default: str) -> str:
    """Return the rule for `data.separator`; `default` is the corpus's own, for an empty separator."""
    if separator in ("\n", "\\n"):
        return "lines"
    if "\n" in separator or "\r" in separator:
        raise LabError(
            f"data.separator can't be {separator!r}: expected one line of text, or \\n for a document a line"
        )
    if separator:
        return f"marker:{separator}"
    return f"marker:{MARKER}" if default == "marker" else default


def pieces(
    files: Iterable[SourceFile],
    rule: str,
    column: str,
    progress: Progress,
    findings: ReadingFindings,
    skip_undecodable: bool = False,
    minimum_words: int = 0,
    newlines: NewlinesName = "keep",
) -> Iterator[Piece]:
    """Yield the documents of the files with at least `minimum_words` words, in order and in pieces.

    With `skip_undecodable` a text file that isn't UTF-8 and not part of a published split is skipped and added to
    `findings`; otherwise it raises LabError. With `newlines` lf, every line break becomes a line feed.
    """
    for file in files:
        if skip_undecodable and file.kind == "text" and not file.part and not _decodes(file):
            findings.skipped_files.append(file.name)
            findings.skipped_bytes += size_on_disk(file)
            continue
        trims = file.kind == "text" and rule.startswith("marker:")
        whole = _assembled(_marked_off(file, rule, column, newlines, progress), findings, trims)
        for text, last in _long_enough(whole, minimum_words, findings):
            yield Piece(text, last, file.part)


class DocumentStretch(NamedTuple):
    """Some text of a document; `ends` if a document boundary follows it."""

    text: str
    ends: bool


def _marked_off(
    file: SourceFile, rule: str, column: str, newlines: NewlinesName, progress: Progress
) -> Iterator[DocumentStretch]:
    """Return the text of one file, divided at document boundaries."""
    if file.kind == "parquet" and rule == "articles":
        return _by_headings(_line_blocks(map(line_of_row, parquet_documents(file, column, progress))))
    if file.kind != "text":
        records = jsonl_documents if file.kind == "jsonl" else parquet_documents
        texts = records(file, column, progress)
        return (DocumentStretch("".join(with_line_feeds([text])) if newlines == "lf" else text, True) for text in texts)
    chunks = text_chunks(file, progress)
    if newlines == "lf":
        chunks = with_line_feeds(chunks)
    if rule == "file":
        return (DocumentStretch(chunk, False) for chunk in chunks)
    if rule == "lines":
        return _by_lines(_line_blocks(chunks))
    if rule == "articles":
        return _by_headings(_line_blocks(chunks))
    return _by_marker(_line_blocks(chunks), rule.removeprefix("marker:"))


def _line_blocks(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the text in blocks of whole lines; a line longer than a piece is yielded in parts without a line break."""
    held = ""
    for chunk in chunks:
        held += chunk
        end = held.rfind("\n") + 1
        if end:
            yield held[:end]
            held = held[end:]
        elif len(held) > PIECE_CHARACTERS:
            yield held
            held = ""
    if held:
        yield held


def with_line_feeds(chunks: Iterable[str]) -> Iterator[str]:
    r"""Yield the chunks with \r\n and \r replaced by \n, even if a chunk ends between the two."""
    held = False
    for chunk in chunks:
        text = "\r" + chunk if held else chunk
        held = text.endswith("\r")
        text = text.removesuffix("\r")
        yield text.replace("\r\n", "\n").replace("\r", "\n")
    if held:
        yield "\n"


def _by_marker(blocks: Iterable[str], marker: str) -> Iterator[DocumentStretch]:
    begins_line = True
    for block in blocks:
        begin = search = 0
        while (hit := block.find(marker, search)) >= 0:
            after = hit + len(marker)
            end = after + 1 if block.startswith("\r", after) else after
            alone = block[hit - 1] == "\n" if hit else begins_line
            if alone and (end == len(block) or block[end] == "\n"):
                yield DocumentStretch(block[begin:hit], True)
                begin = search = end + 1
            else:
                search = after
        begins_line = block.endswith("\n")
        if begin < len(block):
            yield DocumentStretch(block[begin:], False)


def _by_lines(blocks: Iterable[str]) -> Iterator[DocumentStretch]:
    for block in blocks:
        *lines, rest = block.split("\n")
        yield from (DocumentStretch(line.removesuffix("\r"), True) for line in lines)
        if rest:
            yield DocumentStretch(rest, False)


def _by_headings(blocks: Iterable[str]) -> Iterator[DocumentStretch]:
    after_blank, heading = True, ""
    for block in blocks:
        for line in block.splitlines(keepends=True):
            blank = line.isspace()
            if heading:
                if blank:
                    yield DocumentStretch("", True)
                yield DocumentStretch(heading, False)
                heading = ""
            if after_blank and HEADING.fullmatch(line):
                heading = line
            else:
                yield DocumentStretch(line, False)
            after_blank = blank
    if heading:
        yield DocumentStretch(heading, False)


def _assembled(
    stretches: Iterable[DocumentStretch], findings: ReadingFindings, trims: bool
) -> Iterator[tuple[str, bool]]:
    """Yield (text, whether the document ends with it); `trims` drops the line breaks next to a boundary."""
    parts: list[str] = []
    length, patience = 0, 2 * PIECE_CHARACTERS
    begun = after_border = False
    for stretch in stretches:
        text = stretch.text.lstrip(LINE_BREAKS) if trims and after_border and not begun and not length else stretch.text
        parts.append(text)
        length += len(text)
        if stretch.ends:
            whole = "".join(parts)
            yield from _finished(whole.rstrip(LINE_BREAKS) if trims else whole, begun, findings)
            parts, length, patience = [], 0, 2 * PIECE_CHARACTERS
            begun, after_border = False, True
        elif length > patience:
            *ready, rest = _cut("".join(parts), findings)
            yield from ((piece, False) for piece in ready)
            begun = begun or bool(ready)
            parts, length = [rest], len(rest)
            patience = 2 * max(PIECE_CHARACTERS, length)  # if nothing could be cut, try again much later
    if length:
        yield from _finished("".join(parts), begun, findings)


def line_of_row(text: str) -> str:
    """Return a row that is a line of text, with the line break that WikiText's parquet files leave out of blank lines."""
    return text if text.endswith("\n") else f"{text}\n"


def is_heading(line: str) -> bool:
    """Return whether a line looks like the title of an article in WikiText's layout."""
    return HEADING.fullmatch(line) is not None


def pieces_of_record(
    text: str, findings: ReadingFindings, minimum_words: int = 0, newlines: NewlinesName = "keep"
) -> list[str]:
    """Return a whole document in pieces, as `pieces` does; none if it is left out, which is counted in `findings`."""
    if newlines == "lf":
        text = "".join(with_line_feeds([text]))
    if not text or text.isspace():
        findings.empty_documents += 1
        return []
    if minimum_words and len(text.split(maxsplit=minimum_words)) < minimum_words:
        findings.short_documents += 1
        return []
    return _cut(text, findings)


def _long_enough(
    stream: Iterator[tuple[str, bool]], minimum_words: int, findings: ReadingFindings
) -> Iterator[tuple[str, bool]]:
    """Yield the stream without documents of fewer words; pieces are held back until the document has enough words."""
    held: list[tuple[str, bool]] = []
    words = 0
    for text, last in stream:
        held.append((text, last))
        if words < minimum_words:
            # A cut is never inside a word, so the pieces' word counts sum up.
            words += min(minimum_words, len(text.split(maxsplit=minimum_words)))
        if words >= minimum_words:
            yield from held
            held.clear()
        if last:
            findings.short_documents += bool(held)
            held.clear()
            words = 0


def _finished(text: str, begun: bool, findings: ReadingFindings) -> Iterator[tuple[str, bool]]:
    """Yield the rest of a document, or all of it."""
    if not begun and (not text or text.isspace()):
        findings.empty_documents += 1
        return
    *ready, rest = _cut(text, findings)
    yield from ((piece, False) for piece in ready)
    yield rest, True


def _cut(text: str, findings: ReadingFindings) -> list[str]:
    """Return `text` in pieces of at most 2 * PIECE_CHARACTERS, longer only if there is no safe place to cut."""
    begin, found = 0, []
    while len(text) - begin > 2 * PIECE_CHARACTERS:
        cut = safe_cut(text, begin, begin + PIECE_CHARACTERS)
        if cut is None:
            cut = safe_cut(text, begin, min(len(text), begin + UNCUT_CHARACTERS))
        if cut is None:
            if len(text) - begin <= UNCUT_CHARACTERS:
                break
            cut = begin + UNCUT_CHARACTERS
            findings.forced_cuts += 1
        found.append(text[begin:cut])
        begin = cut
    return [*found, text[begin:]]


def safe_cut(text: str, begin: int, end: int) -> int | None:
    """Return the last place between `begin` and `end` where a cut changes no token: before white space that precedes other text."""
    while end > begin + 2:
        cut = max(text.rfind(" ", begin + 1, end - 1), text.rfind("\n", begin + 1, end - 1))
        if cut < 0:
            return None
        if not text[cut + 1].isspace():
            return cut
        # Skip all white space before it at once; a long run would otherwise take one step per character.
        start = max(begin, cut - STRIPPED_CHARACTERS)
        end = start + len(text[start:cut].rstrip())
    return None


def _decodes(file: SourceFile) -> bool:
    try:
        for _ in text_chunks(file, Silent()):
            pass
    except NotUTF8:
        return False
    return True
