"""Records of cached measures, by kind: one object each at first, one table once they are many.

A continent has millions, and a nightly run would request each from the store. An object is younger than the same record
in the table; one that is lost with a killed run is measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.errors import StoreError
from dsdit.store.bulk import read_objects, remove_objects
from dsdit.store.objects import join, list_names, read_json, write_json
from dsdit.store.parquet import read_table, writing_table

KINDS = ("fit", "shift", "mtf")
"""Kinds that are joined: measures of pairs, each of them small. Covers are read one item at a time."""
JOINED_FROM = 1000
"""Objects of a kind from which on they are moved into its table."""
JOINED_AT_ONCE = 100_000
_ROWS = 8192
_SUFFIX = ".json"


class Records:
    """Records of one kind below a folder, by key: 32 hexadecimal digits. The folder is listed once."""

    def __init__(self, folder: str, kind: str) -> None:
        self.kind = kind
        self.folder = join(folder, kind)
        self.table = join(folder, f"{kind}.parquet")
        self.objects = {n.removesuffix(_SUFFIX) for n in list_names(self.folder) if n.endswith(_SUFFIX)}
        self.keys, self._texts = self._read()
        self._heads = _heads(self.keys)

    def _read(self) -> tuple[NDArray[np.uint8], Any]:
        try:
            columns = read_table(self.table)
        except StoreError as error:
            raise StoreError(f"{error}: remove it, and what it holds is measured again") from error
        if columns is None:
            return np.empty((0, 16), np.uint8), ()
        if set(columns) != {"key", "record"}:
            raise StoreError(f"{self.table} is no table of measures: remove it, and what it holds is measured again")
        return columns["key"], columns["record"]

    def get(self, key: str) -> tuple[str, Any]:
        """(where it is stored, record); None for a record that is not there. Raises StoreError where it is damaged."""
        url = self.url(key)
        if key in self.objects and (record := read_json(url)) is not None:
            return url, record
        row = self._row(key)
        return (url, None) if row is None else (f"{self.table} at {key}", json.loads(self.text(row)))

    def put(self, key: str, record: Any) -> None:
        """Writes a record, as an object."""
        write_json(self.url(key), record)

    def url(self, key: str) -> str:
        """Where a record is stored as an object."""
        return join(self.folder, key + _SUFFIX)

    def text(self, row: int) -> str:
        """JSON of one row of the table."""
        return str(self._texts[row])

    def _row(self, key: str) -> int | None:
        wanted = _raw([key])
        first, last = (int(np.searchsorted(self._heads, _heads(wanted)[0], side)) for side in ("left", "right"))
        return next((row for row in range(first, last) if (self.keys[row] == wanted[0]).all()), None)


def join_records(folder: str, check: Callable[[], None], kinds: tuple[str, ...] = KINDS) -> int:
    """Moves the objects of each kind that has many into its table; returns how many. `check` runs before each change.

    A damaged object stays where it is. If it is killed in between, some objects are in the table too. A run that plans
    meanwhile measures again what it does not find.
    """
    joined = 0
    for kind in kinds:
        while len(list_names(join(folder, kind))) >= JOINED_FROM:  # few: the table need not be read
            records = Records(folder, kind)
            new = dict(_whole(records, islice(sorted(records.objects), JOINED_AT_ONCE)))
            if not new:
                break
            check()
            with writing_table(records.table) as table:
                rows = _merged(records, new)
                while block := list(islice(rows, _ROWS)):
                    table.add({"key": _raw([key for key, _ in block]), "record": [text for _, text in block]})
            check()
            remove_objects(records.folder, (key + _SUFFIX for key in new))
            joined += len(new)
    return joined


def _whole(records: Records, keys: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Objects that can be read, as compact JSON; files whose names are no keys are skipped."""
    wanted = [key for key in keys if len(key) == 32 and set(key) <= set("0123456789abcdef")]
    for key, (_, content) in zip(wanted, read_objects(records.folder, (k + _SUFFIX for k in wanted)), strict=True):
        try:
            record = json.loads(content or b"")
        except ValueError:
            continue
        yield key, json.dumps(record, separators=(",", ":"), sort_keys=True, allow_nan=False)


def _merged(records: Records, new: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(key, text) of table and objects in the order of keys; the object's where both have the key."""
    rest, row = iter(sorted(new.items())), 0
    young = next(rest, None)
    while row < len(records.keys) or young is not None:  # a merge of two sorted sequences
        old = records.keys[row].tobytes().hex() if row < len(records.keys) else None
        if young is None or (old is not None and old < young[0]):
            assert old is not None
            yield old, records.text(row)
            row += 1
            continue
        row += old == young[0]
        yield young
        young = next(rest, None)


def _raw(keys: list[str]) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, 16)


def _heads(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first eight bytes as numbers of the same order."""
    return np.ascontiguousarray(keys[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
