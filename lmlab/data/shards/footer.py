"""The footer of a parquet file: it lists every row group with its place, its sizes and the extremes of its values.

Its SHA-256 identifies the file: hardly any change of the content leaves the compressed sizes and the extremes of every column as
they were, and unlike the hash of a file of gigabytes it costs the last megabyte only.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

from lmlab import LabError
from lmlab.data.parquet import require_pyarrow

MAGIC = b"PAR1"
TAIL_BYTES = 1 << 16
"""Bytes at the end that are read first; a footer of few row groups is in them."""
LARGEST_FOOTER = 1 << 28

ReadRange = Callable[[int, int], bytes]
"""(begin, end) -> the bytes of a file [begin, end)."""


def read_footer(read: ReadRange, size: int, name: str) -> bytes:
    """Return the end of a parquet file from its footer on, of a file with `size` bytes; raises LabError if it isn't one."""
    tail = read(max(0, size - TAIL_BYTES), size)
    if len(tail) < 12 or tail[-4:] != MAGIC:
        raise LabError(
            f"{name} is not readable as parquet (its end is not {MAGIC.decode()}): expected an intact parquet file"
        )
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > min(size, LARGEST_FOOTER):
        raise LabError(
            f"{name} is not readable as parquet (its footer has {length:,} bytes): expected an intact parquet file"
        )
    if length > len(tail):
        return read(size - length, size - len(tail)) + tail
    return tail[-length:]


def parsed_footer(footer: bytes, name: str) -> Any:
    """Return pyarrow's metadata of a file with this footer; raises LabError if it isn't valid."""
    require_pyarrow()
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(io.BytesIO(footer))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise LabError(f"{name} is not readable as parquet ({line}): expected an intact parquet file") from None


def footer_sha256(footer: bytes) -> str:
    """Return the hash that identifies the file."""
    return hashlib.sha256(footer).hexdigest()
