"""Receipts as rows of Parquet tables: one table of all published versions for each step, and younger ones.

A row has columns for index, state and digest, the states of tiles as bytes, and the rest as JSON. A continent takes
some hundred MB so, and several GB as Python objects. Only a batch of rows is in memory at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.digest import stack_digests
from dsdit.errors import StoreError
from dsdit.receipts.objects import Receipt, receipt_of
from dsdit.receipts.tile_states import TileStates
from dsdit.status import JobState
from dsdit.store.objects import join, list_names
from dsdit.store.parquet import read_batches
from dsdit.window import Index

Keys = NDArray[np.int64]
STATES = tuple(JobState)
_PARTS = ("seconds", "pixels", "sources", "errors", "measures", "calls")


def oldest_table(step: str) -> str:
    """Name of the table of all published versions."""
    return f"{step}.parquet"


def list_tables(url: str, step: str) -> list[str]:
    """Names of the step's tables below `url`, the youngest first; that of all published versions is always the last."""
    young = [name for name in list_names(join(url, f"{step}.new")) if name.endswith(".parquet")]
    return [*(join(f"{step}.new", name) for name in reversed(young)), oldest_table(step)]


def next_table(url: str, step: str) -> str:
    """Name of a table that is younger than all existing ones."""
    youngest = list_tables(url, step)[0]
    number = 0 if youngest == oldest_table(step) else 1 + int(youngest.rsplit("/", 1)[1].removesuffix(".parquet"))
    return join(f"{step}.new", f"{number:06d}.parquet")


def batches(url: str, name: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a table in batches; of a damaged table those before the damage. See `damaged_tables`."""
    with suppress(StoreError):
        yield from read_batches(join(url, name), columns)


def damaged_tables(url: str, step: str) -> list[str]:
    """Names of the step's tables that cannot be read to their end, by Parquet's checksums; nothing is parsed."""
    found = []
    for name in list_tables(url, step):
        try:
            for _ in read_batches(join(url, name)):
                pass
        except StoreError:
            found.append(name)
    return found


def columns_of(receipts: Sequence[Receipt]) -> dict[str, Any]:
    """Receipts as rows of a table."""
    jobs = np.array([r.job for r in receipts], np.int32).reshape(-1, 2)
    return {
        "row": jobs[:, 0],
        "col": jobs[:, 1],
        "state": np.array([STATES.index(r.state) for r in receipts], np.uint8),
        "digest": stack_digests([r.digest for r in receipts]),
        "record": [_rest(r) for r in receipts],
        "tiles": [TileStates.of(r.tiles).to_bytes() for r in receipts],
    }


def _rest(receipt: Receipt) -> str:
    return json.dumps({name: value for name in _PARTS if (value := getattr(receipt, name))}, separators=(",", ":"))


def receipts_of(step: str, rows: dict[str, Any]) -> Iterator[Receipt]:
    """Receipts of rows, one at a time. Rows without a column of tiles (older tables) hold everything in their JSON."""
    if "tiles" not in rows:
        yield from (receipt_of(json.loads(str(record))) for record in rows["record"])
        return
    columns = (rows["row"].tolist(), rows["col"].tolist(), rows["state"].tolist(), rows["digest"])
    for row, col, state, digest, record, tiles in zip(*columns, rows["record"], rows["tiles"], strict=True):
        rest: dict[str, Any] = {"seconds": 0.0, **json.loads(str(record)), "digest": digest.tobytes()}
        rest.update({name: tuple(rest[name]) for name in ("sources", "errors") if name in rest})
        packed = TileStates.from_bytes(tiles.as_py())
        yield Receipt(step=step, job=Index(row, col), state=STATES[state], tiles=packed, **rest)


def keys_of(jobs: Sequence[Index]) -> Keys:
    """One number for each job; see `index_keys`."""
    indices = np.array(jobs, np.int64).reshape(-1, 2)
    return index_keys(indices[:, 0], indices[:, 1])


def index_keys(row: NDArray[Any], col: NDArray[Any]) -> Keys:
    """One number for each (row, col), with the row in the upper 32 bits."""
    keys: Keys = row.astype(np.int64) * 2**32 + col
    return keys


def among(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """True for each key that is among `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(keys), bool)
    found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
    return found
