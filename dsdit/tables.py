"""Tables as one Parquet object each: columns of numpy arrays, zstd, with a checksum a page. The owner of pyarrow.

A column is a numpy array of one dimension, one of two dimensions (rows of fixed width: bytes for uint8, lists for
numbers), or a sequence of strings. What is read back equals what was written, in type and order.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dsdit.errors import StoreError
from dsdit.store import read_bytes, write_bytes

Column = NDArray[Any] | Sequence[str]


def write_table(url: str, columns: Mapping[str, Column]) -> int:
    """Writes one object; returns its bytes. Columns have one length."""
    table = pa.table({name: _to_arrow(column) for name, column in columns.items()})
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    whole = content.getvalue()
    write_bytes(url, whole)
    return len(whole)


def read_table(url: str, names: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Columns by name, all or those of `names`; None where there is no object.

    A column of strings comes as an arrow array, which gives one string at a time. Raises StoreError where the object
    is damaged.
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


def _to_arrow(column: Column) -> Any:
    if not isinstance(column, np.ndarray):
        return column if isinstance(column, pa.Array) else pa.array(column, pa.large_string())
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
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return column
    return column.to_numpy(zero_copy_only=False)
