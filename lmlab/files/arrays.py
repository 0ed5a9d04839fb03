"""Arrays of rows in numpy's .npy files, of a type that is known before the file is opened.

numpy's own reader takes headers of any kind, zip archives and pickles. Ours takes the one form that `numpy.save` writes
of one axis of rows (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), and compares: nothing in
the header is evaluated, and nothing is allocated for what it claims.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmlab import LabError
from lmlab.files.storage import reason

MAGIC = b"\x93NUMPY"
VERSIONS = {(1, 0): 2, (2, 0): 4}
"""Version -> bytes of the header's length, little-endian."""
LARGEST_HEADER = 4096
HEADER = re.compile(
    r"\{'descr': (?P<kind>.+), 'fortran_order': False, 'shape': \((?P<rows>[0-9]{1,18}),\), \} *\n", re.ASCII
)


@dataclass(frozen=True, kw_only=True)
class RowsHeader:
    """What a .npy file says of itself."""

    kind: str
    """The rows' type as numpy writes it, compared with `kind_text` of the type that is wanted."""
    rows: int
    begin: int
    """The first byte of the first row."""
    data_bytes: int
    """From there to the end of the file."""

    def holds(self, kind: np.dtype) -> bool:
        """Whether the file has rows of `kind`, as many as it says, and nothing more."""
        return self.kind == kind_text(kind) and self.data_bytes == self.rows * kind.itemsize


def kind_text(kind: np.dtype) -> str:
    """A row's type as it stands in a header: `'<i8'`, or `[('key', '|V32'), ('bytes', '<i8')]`."""
    return repr(np.lib.format.dtype_to_descr(kind))


def read_rows_header(path: Path) -> RowsHeader:
    """The header of a .npy file of rows; LabError where it is missing or no such file."""
    try:
        if not path.is_file():
            raise LabError(f"{path} is no file: expected a numpy array" if path.exists() else f"{path} is missing")
        with open(path, "rb") as file:
            start = file.read(len(MAGIC) + 2)
            width = VERSIONS.get((start[-2], start[-1])) if len(start) == len(MAGIC) + 2 else None
            if not start.startswith(MAGIC) or width is None:
                raise LabError(f"{path} is damaged: expected a numpy array (version 1.0 or 2.0)")
            length = int.from_bytes(file.read(width), "little")
            text = file.read(min(length, LARGEST_HEADER))
            found = HEADER.fullmatch(text.decode("latin-1"))
            if len(text) != length or found is None:
                raise LabError(f"{path} is damaged: expected an array of rows, as numpy.save writes it")
            begin = file.tell()
        return RowsHeader(
            kind=found["kind"], rows=int(found["rows"]), begin=begin, data_bytes=path.stat().st_size - begin
        )
    except OSError as error:
        raise LabError(f"{path} can't be read: {reason(error)}; check its permissions and the disk") from None


def map_rows(path: Path, header: RowsHeader, kind: np.dtype) -> np.ndarray:
    """The rows of a file whose header `holds` them, memory-mapped and read-only: [rows]."""
    if not header.rows:
        return np.empty(0, kind)
    return np.memmap(path, dtype=kind, mode="r", offset=header.begin, shape=(header.rows,))
