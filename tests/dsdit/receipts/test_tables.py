"""Receipts in tables: read once, in bounded memory, and never in neither an object nor a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dsdit.receipts.receipts
import dsdit.store.bulk
import dsdit.store.parquet
from dsdit.digest import NO_DIGEST
from dsdit.errors import StoreError
from dsdit.receipts.objects import receipt_record
from dsdit.receipts.receipts import (
    Receipt,
    compact_receipts,
    damaged_receipts,
    done_jobs,
    iterate_receipts,
    join_receipts,
    list_receipts,
    new_receipts,
    read_receipts,
    write_receipt,
    write_receipt_table,
)
from dsdit.receipts.tables import columns_of
from dsdit.receipts.tile_states import TileStates
from dsdit.status import JobState
from dsdit.store.parquet import read_table, write_table
from dsdit.window import Index, Window
from tests.support.memory import peak_anonymous_bytes


def receipt(col: int, state: JobState = JobState.DONE, seconds: float = 1.5) -> Receipt:
    tiles = {f"{row},{8 * col + c}": (row * col) % 5 for row in range(-2, 3) for c in range(5) if (row, c) != (0, 0)}
    rest: Any = ({"done": 9}, ("a", f"b{col}"), ("e",), {"m": 0.1}, 3)
    return Receipt("mosaic", Index(-3, col), state, (col + 1).to_bytes(32), seconds, tiles, *rest)


def test_all_of_a_receipt_comes_back_from_a_table(tmp_path: Path) -> None:
    url = str(tmp_path)
    odd = replace(receipt(9), digest=NO_DIGEST, tiles={}, pixels={}, sources=(), errors=(), measures={}, calls=0)
    written = [*(receipt(col, state) for col, state in enumerate(JobState)), odd]
    for each in written:
        write_receipt(url, each)
    assert join_receipts(url, "mosaic") == []
    assert list(iterate_receipts(url, "mosaic")) == written
    assert isinstance(next(iterate_receipts(url, "mosaic")).tiles, TileStates)
    assert compact_receipts(url, "mosaic") == len(written)
    left = [each for each in written if each.state is not JobState.CLEARED]
    assert list(iterate_receipts(url, "mosaic")) == left and len(left) == len(written) - 1
    again = read_receipts(url, "mosaic")[Index(-3, 1)]
    write_receipt(url, again)
    assert read_receipts(url, "mosaic")[Index(-3, 1)] == again == written[1]


def test_the_youngest_receipt_counts(tmp_path: Path) -> None:
    url, failed, done = str(tmp_path), JobState.FAILED, JobState.DONE
    write_receipt_table(url, "mosaic", [receipt(0), receipt(1), receipt(2, failed), receipt(3)])
    for younger in ([receipt(0, failed), receipt(1, seconds=2.0)], [receipt(0, seconds=3.0), receipt(2)]):
        for each in younger:
            write_receipt(url, each)
        join_receipts(url, "mosaic")
    write_receipt(url, receipt(3, failed))
    states = {Index(-3, 0): done, Index(-3, 1): done, Index(-3, 2): done, Index(-3, 3): failed}
    seconds = {Index(-3, 0): 3.0, Index(-3, 1): 2.0, Index(-3, 2): 1.5, Index(-3, 3): 1.5}

    def check() -> None:
        assert list_receipts(url, "mosaic") == states
        assert {job: r.seconds for job, r in read_receipts(url, "mosaic").items()} == seconds
        places, digests = done_jobs(url, "mosaic")
        assert sorted(map(tuple, places.tolist())) == [(-3, 0), (-3, 1), (-3, 2)]
        assert [row.tobytes() for row in digests] == [(col + 1).to_bytes(32) for _, col in places.tolist()]

    check()
    assert {r.job.col for r in new_receipts(url, "mosaic")} == {0, 1, 2, 3}
    assert compact_receipts(url, "mosaic") == 4
    check()
    assert list(new_receipts(url, "mosaic")) == []
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mosaic.parquet"]


def test_each_object_is_read_once_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, read = str(tmp_path), []
    for col in range(20):
        write_receipt(url, receipt(col))
    plain = dsdit.store.bulk.read_objects

    def counted(folder: str, names: Any) -> Any:
        listed = list(names)
        read.extend(listed)
        return plain(folder, listed)

    monkeypatch.setattr(dsdit.receipts.objects, "read_objects", counted)
    join_receipts(url, "mosaic")
    assert damaged_receipts(url, "mosaic") == []
    assert len(done_jobs(url, "mosaic")[0]) == len(list(iterate_receipts(url, "mosaic"))) == 20
    assert len(list(new_receipts(url, "mosaic"))) == compact_receipts(url, "mosaic") == 20
    assert len(read) == 20


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("finish", [join_receipts, compact_receipts])
def test_killed_at_any_moment_no_receipt_is_lost(
    finish: Callable[[str, str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies before each write and each removal of an object in turn."""
    monkeypatch.setattr(dsdit.receipts.receipts, "JOINED_AT_ONCE", 2)
    write, remove = dsdit.store.parquet.write_bytes, dsdit.store.bulk.filesystem("/")[0].__class__.rm_file
    left = 0

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def acted(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return act(*arguments)

        return acted

    moments = 0
    while True:
        url = str(tmp_path / str(moments))
        write_receipt_table(url, "mosaic", [receipt(0, JobState.FAILED), receipt(9)])
        for col in (5, 6):
            write_receipt(url, receipt(col))
        join_receipts(url, "mosaic")
        for col in range(6):
            write_receipt(url, receipt(col, seconds=2.0))
        known = read_receipts(url, "mosaic")
        assert len(known) == 8
        left = moments
        monkeypatch.setattr(dsdit.store.parquet, "write_bytes", dying(write))
        monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.rm_file", dying(remove))
        try:
            finish(url, "mosaic")
            ended = True
        except Killed:
            ended = False
        monkeypatch.setattr(dsdit.store.parquet, "write_bytes", write)
        monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.rm_file", remove)
        assert read_receipts(url, "mosaic") == known
        compact_receipts(url, "mosaic")
        assert read_receipts(url, "mosaic") == known
        assert [path.name for path in Path(url).rglob("*") if path.is_file()] == ["mosaic.parquet"]
        if ended:
            break
        moments += 1
    assert moments >= 9


def test_a_damaged_object_hides_older_rows_of_the_table(tmp_path: Path) -> None:
    url = str(tmp_path)
    write_receipt_table(url, "mosaic", [receipt(0), receipt(1)])
    write_receipt(url, receipt(0, seconds=2.5))
    (path,) = (tmp_path / "mosaic").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    assert done_jobs(url, "mosaic")[0].tolist() == [[-3, 1]]
    assert join_receipts(url, "mosaic") == [f"mosaic/{Index(-3, 0)}"]
    assert join_receipts(url, "mosaic") == damaged_receipts(url, "mosaic") == []
    assert done_jobs(url, "mosaic")[0].tolist() == [[-3, 1]]
    lost = read_receipts(url, "mosaic")[Index(-3, 0)]
    assert (lost.state, lost.errors) == (JobState.FAILED, (f"the receipt of mosaic {Index(-3, 0)} was damaged",))


def test_a_damaged_table_is_reported_and_removed(tmp_path: Path) -> None:
    url = str(tmp_path)
    write_receipt_table(url, "mosaic", [receipt(0), receipt(1)])
    write_receipt(url, receipt(2))
    join_receipts(url, "mosaic")
    table = tmp_path / "mosaic.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 3] ^= 0xFF
    table.write_bytes(content)
    assert damaged_receipts(url, "mosaic") == ["mosaic.parquet"]
    assert join_receipts(url, "mosaic") == ["mosaic.parquet"]
    assert [job.col for job in read_receipts(url, "mosaic")] == [2]


def test_a_table_whose_json_holds_all_is_read_and_written_anew(tmp_path: Path) -> None:
    url, written = str(tmp_path), [receipt(0), receipt(1, JobState.DEGRADED)]
    columns = columns_of(written)
    del columns["tiles"]
    columns["record"] = [json.dumps(receipt_record(each)) for each in written]
    write_table(f"{url}/mosaic.parquet", columns)
    assert list(iterate_receipts(url, "mosaic")) == written
    assert done_jobs(url, "mosaic")[0].tolist() == [[-3, 0]]
    write_receipt(url, receipt(2))
    assert compact_receipts(url, "mosaic") == 1
    assert read_receipts(url, "mosaic") == {r.job: r for r in (*written, receipt(2))}
    assert "tiles" in (read_table(f"{url}/mosaic.parquet") or {})


def test_tiles_are_packed_and_equal(tmp_path: Path) -> None:
    tiles = {"-12,28": 0, "-11,30": 4, "-12,30": 1}
    packed = TileStates.of(tiles)
    assert packed == tiles == TileStates.from_bytes(packed.to_bytes())
    assert len(packed) == 3 and "-12,29" not in packed and "0,0" not in packed and packed["-11,30"] == 4
    assert TileStates.from_bytes(TileStates.of({}).to_bytes()) == {}
    assert packed.states.dtype == np.uint8 and packed.states.shape == (2, 3)


SUM_UP = """
import sys
from dsdit.receipts.receipts import Receipt, compact_receipts
from dsdit.receipts.receipts import damaged_receipts, done_jobs, iterate_receipts, join_receipts
from dsdit.mosaic.history import write_history
url = sys.argv[1]
assert join_receipts(url, "mosaic") == damaged_receipts(url, "mosaic") == []
assert len(done_jobs(url, "mosaic")[0]) == sum(1 for _ in iterate_receipts(url, "mosaic"))
compact_receipts(url, "mosaic")
"""


@pytest.mark.short
def test_memory_does_not_grow_with_the_receipts_tiles(tmp_path: Path) -> None:
    peaks = []
    for count in (12_000, 48_000):
        url, side = str(tmp_path / str(count)), 10
        states = np.zeros((side, side), np.uint8)
        rows = (
            replace(receipt(col), tiles=TileStates(Window(0, 8 * col, side, 8 * col + side), states))
            for col in range(count)
        )
        write_receipt_table(url, "mosaic", rows)
        for col in range(0, 4000, 40):
            write_receipt(url, receipt(col))
        peaks.append(peak_anonymous_bytes(SUM_UP, url))
    assert (peaks[1] - peaks[0]) / 36_000 < 600


def test_a_store_that_refuses_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_receipt(str(tmp_path), receipt(0))

    def refused(folder: str, names: Any) -> Any:
        raise StoreError("the store refuses")
        yield

    monkeypatch.setattr(dsdit.receipts.objects, "read_objects", refused)
    with pytest.raises(StoreError, match="the store refuses"):
        join_receipts(str(tmp_path), "mosaic")
    assert len(list((tmp_path / "mosaic").iterdir())) == 1
