"""Statistics of a text before it is prepared: its size, lines and characters, over all of it or its beginning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lmlab.data.documents import ReadingFindings
from lmlab.data.progress import Progress
from lmlab.data.readers import size_on_disk
from lmlab.data.scan import skipped_notes, source_pieces
from lmlab.data.sources import Source

FEWEST_LINES, LONGEST_MEAN_LINE, MOST_BLANK_LINES = 100, 250, 0.01
"""A list has at least so many lines, at most so many characters per line on average, and at most this share of empty lines."""
IN_ORDER = 0.95
"""A list is sorted if this share of its lines is not below the line before."""
COMPRESSION = 3.5
"""Approximate ratio of the size of text to that of its compressed file."""


@dataclass(frozen=True, kw_only=True)
class LineCounts:
    """Counts over the lines of a text."""

    count: int
    blank: int
    characters: int
    """Without line breaks."""
    longest: int
    ascending: int
    """LineCounts not below the line before them, by code points."""

    @property
    def form_a_list(self) -> bool:
        """Whether each line may be a document of its own: there are many, short lines with hardly any empty ones."""
        many = self.count >= FEWEST_LINES and self.blank <= MOST_BLANK_LINES * self.count
        return many and self.characters <= LONGEST_MEAN_LINE * self.count

    @property
    def are_sorted(self) -> bool:
        """Whether nearly all lines are in the order of their code points."""
        return self.count > 1 and self.ascending >= IN_ORDER * (self.count - 1)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Statistics of a text, as far as it was read."""

    whole: bool
    """Whether all of the text was read."""
    files: int
    file_bytes: int
    """Size on the disk; for members of an archive, decompressed."""
    text_bytes: int
    """Approximate size of the text as UTF-8; exact if the whole text was read."""
    documents: int
    characters: int
    words: int
    """Separated by white space."""
    lines: LineCounts
    alphabet: str
    """Every character found, sorted by code point."""
    skipped_files: tuple[str, ...]
    """Files skipped because they aren't UTF-8."""
    skipped_bytes: int

    def notes(self) -> list[str]:
        """Return what a user should know before training on it, a sentence each."""
        return [
            *skipped_notes(self.skipped_files, self.skipped_bytes),
            *list_notes(self.documents, self.lines),
            *carriage_return_notes("\r" in self.alphabet),
        ]

    def lines_of_text(self) -> list[str]:
        """Return the sizes, as lines for a terminal."""
        lines = self.lines
        mean = f"{lines.characters / max(1, lines.count):,.1f}"
        return [
            f"files       {self.files:,}, {self.file_bytes:,} bytes",
            f"text        {self.text_bytes:,} bytes, {self.characters:,} characters ({len(self.alphabet):,} distinct), "
            f"{self.words:,} words",
            f"lines       {lines.count:,} ({lines.blank:,} blank), {mean} characters in the mean, the longest {lines.longest:,}",
            f"documents   {self.documents:,}",
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json."""
        return asdict(self)


def survey(source: Source, column: str, progress: Progress, most_characters: int | None = None) -> Survey:
    """Read the text of `source` once, at most about `most_characters` of it (None: all), and return its statistics."""
    lines, alphabet, findings = LineCounter(), set[str](), ReadingFindings()
    documents = characters = words = text_bytes = 0
    whole = True
    for piece in source_pieces(source, column, f"reading {source.name}", progress, findings):
        documents += piece.last
        characters += len(piece.text)
        words += len(piece.text.split())
        text_bytes += len(piece.text.encode())
        alphabet.update(piece.text)
        lines.add(piece.text, piece.last)
        if most_characters is not None and characters >= most_characters:
            whole = False
            documents += not piece.last
            break
    return Survey(
        whole=whole,
        files=len(source.files),
        file_bytes=sum(map(size_on_disk, source.files)),
        text_bytes=text_bytes if whole else max(text_bytes, _about_text_bytes(source)),
        documents=documents,
        characters=characters,
        words=words,
        lines=lines.counts(),
        alphabet="".join(sorted(alphabet)),
        skipped_files=tuple(findings.skipped_files),
        skipped_bytes=findings.skipped_bytes,
    )


class LineCounter:
    """Counts the lines of documents that are given in pieces."""

    def __init__(self) -> None:
        self._rest = ""
        self._before: str | None = None
        self._count = self._blank = self._characters = self._longest = self._ascending = 0

    def add(self, text: str, last: bool) -> None:
        """Add the next piece of a document; `last` if the document ends with it."""
        *lines, self._rest = (self._rest + text).split("\n")
        if last and self._rest:
            lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            self._add_line(line.removesuffix("\r"))

    def _add_line(self, line: str) -> None:
        self._count += 1
        self._blank += not line.strip()
        self._characters += len(line)
        self._longest = max(self._longest, len(line))
        self._ascending += self._before is not None and self._before <= line
        self._before = line

    def counts(self) -> LineCounts:
        """Return the counts so far, without a line that isn't complete yet."""
        return LineCounts(
            count=self._count,
            blank=self._blank,
            characters=self._characters,
            longest=self._longest,
            ascending=self._ascending,
        )


def list_notes(documents: int, lines: LineCounts) -> Iterator[str]:
    """Yield a note if a text of one document looks like a list of documents."""
    if documents != 1 or not lines.form_a_list:
        return
    order = ", and they are sorted, so that the validation split (its end) is unlike the training split"
    yield (
        f"the text is one document of many short lines{order if lines.are_sorted else ''}; if each line is a document, add "
        "--data.separator '\\n'"
    )


def carriage_return_notes(found: bool) -> Iterator[str]:
    """Yield a note if the text contains carriage returns."""
    if found:
        yield (
            "the text has carriage returns (\\r), which are kept as symbols; to read every line break as \\n, add "
            "--data.newlines lf"
        )


def _about_text_bytes(source: Source) -> int:
    """Return the approximate size of the text from the sizes of its files."""
    packed = [file.packing or file.kind == "parquet" for file in source.files]
    return round(
        sum(
            size_on_disk(file) * (COMPRESSION if is_packed else 1)
            for file, is_packed in zip(source.files, packed, strict=True)
        )
    )
