"""The header of a safetensors file: generated for writing, and validated before anything in a file is used.

    8 bytes   n, unsigned, little-endian
    n bytes   JSON {name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}, spaces at its end
    the rest  the tensors' bytes, row-major, little-endian, one after another without gaps; offsets count from here

The format is Hugging Face's (https://huggingface.co/docs/safetensors). Tensors with wider elements come first, so
that each one is aligned to its element.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.files import parse_json, reason

ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
"""dtype -> bytes of one element."""

LENGTH_BYTES = 8
ALIGNMENT = 8
LARGEST_HEADER = 16 << 20
"""Bytes, enough for about 100,000 tensors; no model has a longer header."""
LARGEST_DIMENSIONS = 64
METADATA = "__metadata__"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tensor of a file: bytes [begin, end) after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def lay_out(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> tuple[bytes, list[Entry]]:
    """Return the first bytes of a file with tensors of these (name, dtype, shape), and the place of each tensor, in file order."""
    entries: list[Entry] = []
    end = 0
    for name, dtype, shape in sorted(tensors, key=lambda tensor: (-ITEM_BYTES[tensor[1]], tensor[0])):
        begin, end = end, end + ITEM_BYTES[dtype] * math.prod(shape)
        entries.append(Entry(name=name, dtype=dtype, shape=shape, begin=begin, end=end))
    described: dict[str, Any] = {METADATA: {"format": "pt"}}
    for entry in entries:
        offsets = [entry.begin, entry.end]
        described[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": offsets}
    text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text, entries


def read_header(path: Path) -> list[Entry]:
    """Return the tensors in a safetensors file, in file order.

    Reads the header only, and never more than `LARGEST_HEADER` bytes. Raises LabError in one line for a file that can't
    be read, or whose header isn't JSON, names an unknown dtype or an impossible shape, or doesn't match the file's size.
    """
    try:
        if not path.is_file():
            raise LabError(f"{path} is missing: expected a safetensors file")
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
                raise _damaged(path, f"its header would have {length:,} bytes, the file has {size:,}")
            if length > LARGEST_HEADER:
                raise _damaged(path, f"its header has {length:,} bytes, expected at most {LARGEST_HEADER:,}")
            text = file.read(length)
    except OSError as error:
        raise LabError(f"{path} can't be read: {reason(error)}; check its permissions and the disk") from None
    return _checked(path, text, size - LENGTH_BYTES - length)


def _checked(path: Path, text: bytes, data_bytes: int) -> list[Entry]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise _damaged(path, f"its header is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise _damaged(path, "its header is not a JSON object")
    value.pop(METADATA, None)
    found = [_entry(path, name, facts) for name, facts in value.items()]
    entries = sorted(found, key=lambda entry: (entry.begin, entry.end))
    end = 0
    for entry in entries:
        if entry.begin != end:
            raise _damaged(path, f"tensor {entry.name!r} begins at byte {entry.begin:,}, expected {end:,}")
        end = entry.end
    if end != data_bytes:
        raise _damaged(path, f"its tensors end at byte {end:,}, its data at {data_bytes:,}")
    return entries


def _entry(path: Path, name: str, facts: Any) -> Entry:
    if not isinstance(facts, dict) or set(facts) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"tensor {name!r} needs dtype, shape and data_offsets")
    dtype, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        known = ", ".join(ITEM_BYTES)
        raise _damaged(path, f"tensor {name!r} has the dtype {str(dtype)[:40]!r}, expected one of {known}")
    if not _are_sizes(shape) or len(shape) > LARGEST_DIMENSIONS:
        raise _damaged(path, f"tensor {name!r} has no shape that a tensor can have")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise _damaged(path, f"tensor {name!r} has no two offsets")
    begin, end = offsets
    if end - begin != ITEM_BYTES[dtype] * math.prod(shape):
        raise _damaged(path, f"tensor {name!r} of shape {shape} does not fill the bytes from {begin:,} to {end:,}")
    return Entry(name=name, dtype=dtype, shape=tuple(shape), begin=begin, end=end)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 1 << 62 for size in value)


def _damaged(path: Path, problem: str) -> LabError:
    return LabError(f"{path} is damaged: {problem}")
