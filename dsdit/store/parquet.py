"""Tables as Parquet objects, one each: columns of numpy arrays, zstd, a checksum a page. The owner of pyarrow.

A column is a numpy array of one dimension, one of two dimensions (rows of fixed width: bytes for uint8, lists for
numbers), or a sequence of strings or of bytes. What is read back equals what was written, in type and order. A table
that grows with the region is written and read in batches of rows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dsdit.errors import StoreError
from dsdit.store.objects import read_bytes, write_bytes

Column = NDArray[Any] | Sequence[str] | Sequence[bytes]
_BATCH = 8192


def write_table(url: str, columns: Mapping[str, Column]) -> int:
    """Writes one object; returns its bytes. Columns have one length."""
    table = _table(columns)
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    whole = content.getvalue()
    write_bytes(url, whole)
    return len(whole)


class TableWriter:
    """A table written in batches of rows of the same columns; memory holds the compressed rows."""

    def __init__(self) -> None:
        self._content = io.BytesIO()
        self._writer: Any = None

    def add(self, columns: Mapping[str, Column]) -> None:
        """Adds rows; nothing is written for none."""
        table = _table(columns)
        if not table.num_rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._content, table.schema, compression="zstd", write_page_checksum=True)
        self._writer.write_table(table)

    def finish(self) -> bytes | None:
        """The whole table; None without any row."""
        if self._writer is None:
            return None
        self._writer.close()
        return self._content.getvalue()


@contextmanager
def writing_table(url: str, empty: Mapping[str, Column] | None = None) -> Iterator[TableWriter]:
    """Writes one object at the end of the block, and nothing where it raises; `empty` is written without any row."""
    writer = TableWriter()
    yield writer
    whole = writer.finish()
    if whole is not None:
        write_bytes(url, whole)
    elif empty is not None:
        write_table(url, empty)


def read_table(url: str, names: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Columns by name, all or those of `names`; None where there is no object.

    A column of strings or bytes is an arrow array, whose items are converted one at a time. Raises StoreError where
    the object is damaged.
    """
    content = read_bytes(url)
    if content is None:
        return None
    try:
        table = pq.read_table(
            pa.BufferReader(content), columns=None if names is None else list(names), page_checksum_verification=True
        )
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{url} is damaged: {error}") from error
    return {name: _from_arrow(table.column(name).combine_chunks()) for name in table.column_names}


def read_batches(url: str, names: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a table in batches of columns, all or those of `names` that it has; none where there is no object.

    Raises StoreError where the object is damaged, when the damaged batch is reached.
    """
    content = read_bytes(url)
    if content is None:
        return
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        has = None if names is None else [name for name in names if name in file.schema_arrow.names]
        for batch in file.iter_batches(_BATCH, columns=has):
            yield {name: _from_arrow(batch.column(name)) for name in batch.schema.names}
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{url} is damaged: {error}") from error


def take_rows(columns: Mapping[str, Any], keep: NDArray[np.bool_]) -> dict[str, Any]:
    """Rows of columns as they were read."""
    mask = pa.array(keep)
    return {
        name: column[keep] if isinstance(column, np.ndarray) else column.filter(mask)
        for name, column in columns.items()
    }


def _table(columns: Mapping[str, Column]) -> Any:
    return pa.table({name: _to_arrow(column) for name, column in columns.items()})


def _to_arrow(column: Column) -> Any:
    if not isinstance(column, np.ndarray):
        if isinstance(column, pa.Array):
            return column
        of_bytes = len(column) > 0 and isinstance(column[0], bytes)
        return pa.array(column, pa.large_binary() if of_bytes else pa.large_string())
    if column.ndim == 1:
        return pa.array(column)
    flat = np.ascontiguousarray(column)
    if column.dtype == np.uint8:
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(column.shape[1]), len(column), [None, pa.py_buffer(flat)])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), column.shape[1])


def _from_arrow(column: Any) -> Any:
    kind = column.type
    if pa.types.is_fixed_size_binary(kind):
        start = column.offset * kind.byte_width
        raw = np.frombuffer(column.buffers()[1], np.uint8)[start : start + len(column) * kind.byte_width]
        return raw.reshape(-1, kind.byte_width)
    if pa.types.is_fixed_size_list(kind):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size)
    if pa.types.is_large_string(kind) or pa.types.is_string(kind) or pa.types.is_large_binary(kind):
        return column
    return column.to_numpy(zero_copy_only=False)


def count_rows(path: Path) -> int:
    """Rows that the footer of a Parquet file on this machine states. Raises OSError, ValueError where it has none."""
    return int(pq.read_metadata(path).num_rows)
