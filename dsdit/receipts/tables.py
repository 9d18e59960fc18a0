"""Receipts as rows of tables: of each step one of all versions published before, and younger ones beside it.

A row holds place, state and digest in columns of their own, the states of tiles as bytes, and the rest as JSON: a
continent's are some hundred MB, where as Python objects they would be several GB. Batches of rows are what is held.
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
    """Name of the table of all versions published before."""
    return f"{step}.parquet"


def list_tables(url: str, step: str) -> list[str]:
    """Names of the step's tables below `url`, the youngest first; that of all is always among them, as the last."""
    young = [name for name in list_names(join(url, f"{step}.new")) if name.endswith(".parquet")]
    return [*(join(f"{step}.new", name) for name in reversed(young)), oldest_table(step)]


def next_table(url: str, step: str) -> str:
    """Name of a table younger than all that are there."""
    youngest = list_tables(url, step)[0]
    number = 0 if youngest == oldest_table(step) else 1 + int(youngest.rsplit("/", 1)[1].removesuffix(".parquet"))
    return join(f"{step}.new", f"{number:06d}.parquet")


def batches(url: str, name: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a table in batches; of a damaged one those before the damage: see `damaged_tables`."""
    with suppress(StoreError):
        yield from read_batches(join(url, name), columns)


def damaged_tables(url: str, step: str) -> list[str]:
    """Names of the step's tables that cannot be read to their end: checksums over bytes, no receipt is made of them."""
    found = []
    for name in list_tables(url, step):
        try:
            for _ in read_batches(join(url, name)):
                pass
        except StoreError:
            found.append(name)
    return found


def columns_of(receipts: Sequence[Receipt]) -> dict[str, Any]:
    """Rows of receipts."""
    places = np.array([r.job for r in receipts], np.int32).reshape(-1, 2)
    return {
        "row": places[:, 0],
        "col": places[:, 1],
        "state": np.array([STATES.index(r.state) for r in receipts], np.uint8),
        "digest": stack_digests([r.digest for r in receipts]),
        "record": [_rest(r) for r in receipts],
        "tiles": [TileStates.of(r.tiles).to_bytes() for r in receipts],
    }


def _rest(receipt: Receipt) -> str:
    return json.dumps({name: value for name in _PARTS if (value := getattr(receipt, name))}, separators=(",", ":"))


def receipts_of(step: str, rows: dict[str, Any]) -> Iterator[Receipt]:
    """Receipts of rows, one at a time. Rows without a column of tiles hold all in their JSON."""
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
    """A number a job; see `place_keys`."""
    places = np.array(jobs, np.int64).reshape(-1, 2)
    return place_keys(places[:, 0], places[:, 1])


def place_keys(row: NDArray[Any], col: NDArray[Any]) -> Keys:
    """A number for each place."""
    return row.astype(np.int64) * 2**32 + col


def among(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """Which keys are among `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(keys), bool)
    return known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
