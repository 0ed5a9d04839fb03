"""Reading parquet: the text of one column, a row group at a time, from the disk, from an archive, or over the network.

Errors contain the file's name, the row group and the row that is wrong.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.progress import Progress, Silent
from lmlab.data.readers import SourceFile, clean_text, first_line, names_of, opened, read_block, size_on_disk
from lmlab.files import require_free_bytes, writing_failed

PARQUET_ROWS = 256
PARQUET_BUFFER = 1 << 22
"""Bytes of a column that are read at a time, so that memory doesn't grow with the size of the row groups."""
SPOOL_BYTES = 1 << 26
"""Bytes decompressed to the disk between two checks of its free space."""
SPARE_DISK_BYTES = 1 << 28


def parquet_documents(file: SourceFile, column: str, progress: Progress) -> Iterator[str]:
    """Yield the text in `column` of each row, read a few rows at a time; null is an empty text."""
    if file.address:
        from lmlab.data.shards.rows import remote_documents

        yield from remote_documents(file, column, progress)
        return
    size, row, passed = size_on_disk(file), 0, 0
    with parquet_table(file, column) as table:
        for group in range(table.num_row_groups):
            for texts in group_rows(file, table, group, column):
                yield from texts
                row += len(texts)
                here = size * row // table.metadata.num_rows
                progress.advance(here - passed)
                passed = here
    progress.advance(size - passed)


def require_pyarrow() -> None:
    """Raise LabError unless pyarrow is installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise LabError('reading parquet needs the package pyarrow: pip install "lmlab[parquet]"') from None


@contextlib.contextmanager
def parquet_table(file: SourceFile, column: str, stream: Any = None, **options: Any) -> Iterator[Any]:
    """Open a parquet file as pyarrow does, from the disk or an open `stream`; raises LabError unless `column` holds text."""
    require_pyarrow()
    import pyarrow
    import pyarrow.parquet

    with contextlib.ExitStack() as stack:
        if stream is None:
            options.setdefault("buffer_size", PARQUET_BUFFER)
        try:
            opened_stream = stream if stream is not None else stack.enter_context(_seekable(file))
            table = stack.enter_context(pyarrow.parquet.ParquetFile(opened_stream, **options))
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise _not_parquet(file, error) from None
        _require_text_column(file, table.schema_arrow, column)
        yield table


def group_rows(file: SourceFile, table: Any, group: int, column: str) -> Iterator[list[str]]:
    """Yield the texts of a row group's rows in lists of PARQUET_ROWS at most; null is an empty text."""
    import pyarrow

    row = 0
    try:
        for batch in table.iter_batches(batch_size=PARQUET_ROWS, row_groups=[group], columns=[column]):
            values = batch.column(0).to_pylist()
            yield [
                clean_text(file, value, f"row {number} of row group {group}", column)
                for number, value in enumerate(values, row)
            ]
            row += len(values)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _not_parquet(file, error) from None


def _not_parquet(file: SourceFile, error: BaseException) -> LabError:
    return LabError(f"{file.name} is not readable as parquet ({first_line(error)}): expected an intact parquet file")


def _require_text_column(file: SourceFile, schema: Any, column: str) -> None:
    import pyarrow

    if column not in schema.names:
        raise LabError(
            f"{file.name} has no column '{column}' but {names_of(dict.fromkeys(schema.names))}: "
            "expected --data.column to name one of these"
        )
    kind = schema.field(column).type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise LabError(f"{file.name}: column '{column}' holds {kind}: expected text; name another with --data.column")


@contextlib.contextmanager
def _seekable(file: SourceFile) -> Iterator[Any]:
    """Provide a seekable file, since parquet is read from its end: a compressed file is decompressed to a temporary one first."""
    if not file.packing and not file.member:
        yield file.path
        return
    with tempfile.TemporaryFile() as spool:
        with opened(file, Silent()) as stream:
            while block := read_block(stream, file, SPOOL_BYTES):
                needed = len(block) + SPARE_DISK_BYTES
                require_free_bytes(Path(tempfile.gettempdir()), needed, f"unpacking {file.name}")
                try:
                    spool.write(block)
                except OSError as error:  # raised here, since it isn't damage of the file
                    raise writing_failed(Path(tempfile.gettempdir()), error) from None
        spool.seek(0)
        yield spool
