"""Arrays of rows in numpy's .npy files, of a dtype that is known before the file is opened.

numpy's own reader accepts any header, zip archives and pickles. This one accepts only the form that `numpy.save` writes for one
axis of rows (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), and compares: nothing in the header is
evaluated, and nothing is allocated from the sizes it claims.
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
"""Version -> number of bytes of the header's length, little-endian."""
LARGEST_HEADER = 4096
HEADER = re.compile(
    r"\{'descr': (?P<kind>.+), 'fortran_order': False, 'shape': \((?P<rows>[0-9]{1,18}),\), \} *\n", re.ASCII
)


@dataclass(frozen=True, kw_only=True)
class RowsHeader:
    """The header of a .npy file of rows."""

    kind: str
    """The rows' dtype as numpy writes it, to compare with `kind_text` of the expected dtype."""
    rows: int
    begin: int
    """Offset of the first row, in bytes."""
    data_bytes: int
    """Bytes from there to the end of the file."""

    def holds(self, kind: np.dtype) -> bool:
        """Return whether the file has rows of dtype `kind`, exactly as many as the header states."""
        return self.kind == kind_text(kind) and self.data_bytes == self.rows * kind.itemsize


def kind_text(kind: np.dtype) -> str:
    """Return a row's dtype as it is written in a header: `'<i8'`, or `[('key', '|V32'), ('bytes', '<i8')]`."""
    return repr(np.lib.format.dtype_to_descr(kind))


def read_rows_header(path: Path) -> RowsHeader:
    """Return the header of a .npy file of rows; raises LabError if the file is missing or of another form."""
    try:
        if not path.is_file():
            raise LabError(f"{path} is not a file: expected a numpy array" if path.exists() else f"{path} is missing")
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
    """Return the rows of a file whose header `holds` them, memory-mapped read-only, [rows]."""
    if not header.rows:
        return np.empty(0, kind)
    return np.memmap(path, dtype=kind, mode="r", offset=header.begin, shape=(header.rows,))
