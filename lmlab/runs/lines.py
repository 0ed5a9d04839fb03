"""Files of JSON lines: one value a line, each appended with one write, so that a crash tears at most the last.

A line is complete with its newline: text after the last newline was torn by a crash, or is being written.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError
from lmlab.files import DISK, Storage, parse_json, reason, without_nan, writing_failed

FORMAT = 1
LONGEST_LINE = 64 << 20
"""Bytes; a line may contain text that a model generated."""
BLOCK = 1 << 16
KINDS = {"segment": int, "step": int, "tokens": int, "kind": str}
"""Fields of every line, except torn lines in discarded.jsonl."""


def line_bytes(value: dict[str, Any]) -> bytes:
    """Return one JSON object as a line; NaN and infinities become null."""
    text = json.dumps(without_nan(value), ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    return f"{text}\n".encode("utf-8", errors="backslashreplace")


def read_lines(path: Path, most: int | None = None) -> list[dict[str, Any]]:
    """Return the first `most` objects in a file of JSON lines, without a torn last line; [] if there is no file.

    Raises LabError with the line that is damaged, or of a format that this version doesn't read. The file is read line by line,
    and a line of more than LONGEST_LINE bytes counts as damaged.
    """
    try:
        if not path.exists():
            return []
        if not path.is_file():
            raise LabError(f"{path} is not a file: expected JSON lines")
        found: list[dict[str, Any]] = []
        with open(path, "rb") as file:
            for number in itertools.count(1):
                text = file.readline(LONGEST_LINE)
                if number - 1 == most:
                    return found
                if not text.endswith(b"\n"):
                    if len(text) == LONGEST_LINE:
                        raise LabError(
                            f"{path} is damaged: line {number} has more than {LONGEST_LINE:,} bytes; take it out to read the rest"
                        )
                    return found
                found.append(_parsed(path, number, text))
    except OSError as error:
        raise LabError(f"{path} can't be read: {reason(error)}; check its permissions and the disk") from None
    return found


def lines_from_end(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects in a file of JSON lines from last to first, reading lazily; otherwise as `read_lines`."""
    try:
        if not path.is_file():
            return
        with open(path, "rb") as file:
            place, rest, torn, block = file.seek(0, os.SEEK_END), b"", True, BLOCK
            while place > 0:
                size = min(block, place)
                place -= size
                file.seek(place)
                first, *whole = (file.read(size) + rest).split(b"\n")
                for text in reversed(whole[: -1 if torn else None]):
                    yield _parsed(path, None, text)
                torn, rest, block = torn and not whole, first, BLOCK if whole else 2 * block
                if len(rest) > LONGEST_LINE:
                    raise LabError(
                        f"{path} is damaged: a line has more than {LONGEST_LINE:,} bytes; take it out to read the rest"
                    )
            if rest and not torn:
                yield _parsed(path, 1, rest)
    except OSError as error:
        raise LabError(f"{path} can't be read: {reason(error)}; check its permissions and the disk") from None


def whole_lines(content: bytes, length: int | None = None) -> int:
    """Return how many bytes of `content`, up to `length`, are complete lines."""
    return content.rfind(b"\n", 0, length) + 1


def append_line(path: Path, value: dict[str, Any], storage: Storage = DISK) -> None:
    """Append a line durably; a torn one before it is cut off. Raises OSError if the system refuses."""
    content = path.read_bytes() if path.exists() else b""
    with storage.open(path, "ab") as file:
        if whole_lines(content) < len(content):
            storage.truncate(file, whole_lines(content))
        storage.write(file, line_bytes(value))
        storage.flush(file)
    if not content:
        storage.flush_folder(path.parent)


def run_writing_failed(folder: Path, path: Path, error: OSError) -> StorageError:
    """Return the one-line error for a file of the run in `folder` that couldn't be written, or whose folder is gone."""
    return writing_failed(path, error) if folder.is_dir() else folder_gone(folder)


def folder_gone(folder: Path) -> StorageError:
    """Return the one-line error for a run whose folder was removed or moved during training."""
    return StorageError(
        f"{folder} was removed or moved while its training ran: put it back, then go on with lmlab resume {folder}, or "
        "start it again"
    )


def now() -> str:
    """Return the present time as in all files of a run: UTC, ISO 8601, milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parsed(path: Path, number: int | None, text: bytes) -> dict[str, Any]:
    place = "a line" if number is None else f"line {number}"
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise LabError(f"{path} is damaged in {place}: expected a JSON object; take the line out to read the rest")
    if value.get("format") != FORMAT:
        found = str(value.get("format"))[:20]
        raise LabError(f"{path} has {place} of format {found}: this version reads {FORMAT}; update lmlab")
    for name, kind in KINDS.items():
        if name in value and not _is(value[name], kind):
            raise LabError(
                f"{path} is damaged in {place}: {name} is {str(value[name])[:20]!r}; take the line out to read the rest"
            )
    return value


def _is(value: Any, kind: type) -> bool:
    """Return whether a line's value is a string, or a count that fits in 64 bits."""
    return isinstance(value, str) if kind is str else type(value) is int and 0 <= value < 1 << 63
