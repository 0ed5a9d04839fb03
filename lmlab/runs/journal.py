"""The journals of a run, in JSON lines: metrics.jsonl, samples.jsonl and events.jsonl.

Only the process that holds the run's lock writes them. A checkpoint stores the length of the files; a resume from it
rewinds them to that: later lines are moved to discarded.jsonl, so that repeated steps are not recorded twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError
from lmlab.files import DISK, Storage, advice, parse_json, reason
from lmlab.runs.lines import FORMAT, line_bytes, now, run_writing_failed, whole_lines

FILES = ("metrics", "samples", "events")
DISCARDED = "discarded.jsonl"
LARGEST_BYTES = 1 << 30
"""About three million lines."""
RESERVED = {"format", "id", "segment", "step", "tokens", "kind", "time", "file"}


class Journal:
    """Appends to a run's files of JSON lines; keeps no file open."""

    def __init__(self, folder: Path, run_id: str, segment: int, storage: Storage = DISK) -> None:
        """`segment` is the number that `Run.begin_segment` returned; every line contains it.

        If `storage` has an owner and another process has taken over the run, appending raises TakenOver.
        """
        self.folder = folder
        self._storage = storage
        self.run_id = run_id
        self.segment = segment
        self._appended: set[str] = set()

    def append(self, file: str, kind: str, /, *, step: int, tokens: int, **values: Any) -> None:
        """Append one line to metrics, samples or events; NaN becomes null. A crash leaves all of it, or a torn last line.

        It's on the disk only after `flush`. Raises LabError if the disk refuses.
        """
        if RESERVED & set(values):
            raise ValueError(f"{', '.join(sorted(RESERVED & set(values)))}: every line has its own")
        path = self._path(file)
        if file not in self._appended:
            _cut(path, file, None, self._storage)
            self._appended.add(file)
        first = {"format": FORMAT, "id": self.run_id, "segment": self.segment, "step": step, "tokens": tokens}
        try:
            _append_whole(path, self._storage, line_bytes({**first, "kind": kind, "time": now(), **values}))
        except OSError as error:
            raise run_writing_failed(self.folder, path, error) from None

    def lengths(self) -> dict[str, int]:
        """Return the current length of each file in bytes, for the checkpoint's state."""
        return {file: path.stat().st_size if (path := self._path(file)).exists() else 0 for file in FILES}

    def flush(self) -> None:
        """Return when everything appended is on the disk; called before a checkpoint stores the lengths, and at the end."""
        storage = self._storage
        try:
            for file in sorted(self._appended):
                with storage.open(self._path(file), "ab") as opened:
                    storage.flush(opened)
            storage.flush_folder(self.folder)
        except OSError as error:
            raise run_writing_failed(self.folder, self.folder, error) from None

    def rewind(self, lengths: Mapping[str, int]) -> list[str]:
        """Move everything beyond `lengths` to discarded.jsonl, where each line has the name of its file.

        Returns a line for each file that is shorter than the checkpoint's length, which doesn't affect training. The operation is
        idempotent: a crash in the middle loses nothing, and repeating the rewind completes it.
        """
        damaged = {file: length for file, length in lengths.items() if file not in FILES or not _is_length(length)}
        if damaged:
            raise LabError(
                f"the checkpoint's journal lengths are damaged: {str(damaged)[:80]}; resume from another one"
            )
        lost = []
        for file, found in self.lengths().items():
            counted = lengths.get(file, 0)
            if found < counted:
                lost.append(
                    f"{self._path(file)} has lost {counted - found:,} bytes of lines from before the checkpoint"
                )
            _cut(self._path(file), file, counted, self._storage)
        return lost

    def _path(self, file: str) -> Path:
        if file not in FILES:
            raise ValueError(f"there is no journal {file!r}: expected one of {', '.join(FILES)}")
        return self.folder / f"{file}.jsonl"


def _append_whole(path: Path, storage: Storage, line: bytes) -> None:
    """Append with one write; if the disk is full, remove the part of the line that was written."""
    with storage.open(path, "ab") as opened:
        length = os.fstat(opened.fileno()).st_size
        try:
            storage.write(opened, line)
        except OSError:
            with contextlib.suppress(OSError):
                opened.truncate(length)
            raise


def _cut(path: Path, file: str, length: int | None, storage: Storage) -> None:
    """Move everything beyond the whole lines in the first `length` bytes (None: in the whole file) to discarded.jsonl.

    It is on the disk there before it is removed here.
    """
    try:
        content = _content(path)
        kept = whole_lines(content, length)
        if kept == len(content):
            return
        _discard(path.with_name(DISCARDED), file, content[kept:], storage)
        with storage.open(path, "ab") as opened:
            storage.truncate(opened, kept)
            storage.flush(opened)
    except OSError as error:
        raise StorageError(f"{path} can't be rewound: {reason(error)}; {advice(error)}") from None


def _content(path: Path) -> bytes:
    """Return the content of a file of lines; raises LabError if it isn't a file, or is larger than any journal."""
    if not path.exists():
        return b""
    if not path.is_file():
        raise LabError(f"{path} is not a file: expected JSON lines")
    if path.stat().st_size > LARGEST_BYTES:
        raise LabError(f"{path} is larger than {LARGEST_BYTES:,} bytes: expected JSON lines; take it out of the run")
    return path.read_bytes()


def _discard(discarded: Path, file: str, beyond: bytes, storage: Storage) -> None:
    lines = [_discarded_line(file, text) for text in beyond.split(b"\n") if text]
    content = _content(discarded)
    content = content[: whole_lines(content)]
    # A crash during or after an earlier attempt may have left some of the lines there already.
    last = [text + b"\n" for text in content.split(b"\n")[:-1]][-len(lines) :]
    there = next(count for count in range(len(last), -1, -1) if last[len(last) - count :] == lines[:count])
    with storage.open(discarded, "ab") as opened:
        storage.truncate(opened, len(content))
        storage.write(opened, b"".join(lines[there:]))
        storage.flush(opened)
    storage.flush_folder(discarded.parent)


def _discarded_line(file: str, text: bytes) -> bytes:
    """Return the line with the name of its file added; a torn one is stored as text."""
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        value = {"format": FORMAT, "torn": text.decode("utf-8", errors="replace")}
    return line_bytes({**value, "file": file})


def _is_length(value: Any) -> bool:
    return type(value) is int and value >= 0
