"""History, damaged receipts and the map of states are read back as they were written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dsdit.mosaic.history import damaged_history, read_history, write_history
from dsdit.receipts.receipts import (
    Receipt,
    compact_receipts,
    damaged_receipts,
    list_receipts,
    new_receipts,
    read_receipts,
    write_receipt,
)
from dsdit.status import JobState
from dsdit.steps.publish.shard_map import coarsen_states
from dsdit.steps.publish.shard_states import ShardState
from dsdit.window import Index
from tests.support.history_shards import read_history_shards

WHEN = datetime(2024, 7, 20, 2, 0, tzinfo=UTC)


def receipt(row: int, state: JobState = JobState.DONE) -> Receipt:
    return Receipt("mosaic", Index(row, 4), state, row.to_bytes(32), 1.5, sources=("a", f"b{row}"))


def test_an_entry_has_the_states_and_items_of_its_shards(tmp_path: Path) -> None:
    plan: Any = SimpleNamespace(digest=b"p", model=SimpleNamespace(digest="m"), settings_digest=b"s")
    made = [receipt(0), receipt(1), receipt(2, JobState.FAILED)]
    write_history(str(tmp_path), WHEN, "1", plan, made, 2.25)
    write_history(str(tmp_path), WHEN.replace(day=21), "2", plan, iter(made[:1]))
    first, second = read_history(str(tmp_path))
    assert (first["version"], first["shards"], first["items"], first["seconds"]) == (
        "1",
        {"done": 2, "failed": 1},
        4,
        6.75,
    )
    assert (second["version"], second["when"]) == ("2", "2024-07-21T02:00:00+00:00")
    assert read_history(str(tmp_path), 1) == [second]
    assert read_history_shards(str(tmp_path), 0)[2, 4] == (JobState.FAILED, ("a", "b2"))
    assert read_history_shards(str(tmp_path)) == {(0, 4): (JobState.DONE, ("a", "b0"))}


def test_an_interrupted_publish_leaves_no_entry_whatever_the_clock(tmp_path: Path) -> None:
    """Interrupted between table and summary, and after it; the clock of the second try is an hour behind."""
    plan: Any = SimpleNamespace(digest=b"p", model=SimpleNamespace(digest="m"), settings_digest=b"s")
    write_history(str(tmp_path), WHEN, "1", plan, [receipt(0)])
    write_history(str(tmp_path), WHEN.replace(hour=4), "2", plan, [receipt(1), receipt(2)])
    write_history(str(tmp_path), WHEN.replace(hour=3), "3", plan, [receipt(3)])
    (newest,) = [p for p in (tmp_path / "history").glob("*.json") if json.loads(p.read_text())["version"] == "3"]
    newest.unlink()
    write_history(str(tmp_path), WHEN.replace(hour=1), "2", plan, [receipt(4)])
    assert [entry["version"] for entry in read_history(str(tmp_path))] == ["1", "2"]
    assert set(read_history_shards(str(tmp_path))) == {(4, 4)}
    assert len(list((tmp_path / "history").iterdir())) == 4
    write_history(str(tmp_path), WHEN.replace(hour=0), "3", plan, [receipt(5)])
    assert [entry["version"] for entry in read_history(str(tmp_path))] == ["1", "2", "3"]
    assert [set(read_history_shards(str(tmp_path), n)) for n in range(3)] == [{(0, 4)}, {(4, 4)}, {(5, 4)}]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"version": 1}', b"\xff\xfe\x00", b'"2"'])
def test_a_damaged_entry_stops_neither_a_publish_nor_a_reader(content: bytes, tmp_path: Path) -> None:
    plan: Any = SimpleNamespace(digest=b"p", model=SimpleNamespace(digest="m"), settings_digest=b"s")
    for day in (20, 21):
        write_history(str(tmp_path), WHEN.replace(day=day), str(day), plan, [receipt(0)])
    first, second = sorted((tmp_path / "history").glob("*.json"))
    second.write_bytes(content)
    (tmp_path / "history/notes.json").write_text("{}")
    second.with_suffix(".parquet").write_bytes(b"PAR1")
    write_history(str(tmp_path), WHEN, "22", plan, [receipt(1)])
    assert [entry["version"] for entry in read_history(str(tmp_path))] == ["20", "22"]
    assert damaged_history(str(tmp_path)) == [f"history/{second.name}"]
    assert damaged_history(str(tmp_path), 1) == []
    assert set(read_history_shards(str(tmp_path), 0)) == {(0, 4)}
    assert second.read_bytes() == content and first.exists()


def test_a_file_in_the_place_of_the_history_stops_no_publish(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan: Any = SimpleNamespace(digest=b"p", model=SimpleNamespace(digest="m"), settings_digest=b"s")
    (tmp_path / "history").write_text("somebody's")
    assert write_history(str(tmp_path), WHEN, "1", plan, [receipt(0)])["version"] == "1"
    assert "version 1 has no entry in the history" in caplog.text
    assert read_history(str(tmp_path)) == [] and (tmp_path / "history").read_text() == "somebody's"


def test_damage_is_found_in_objects_and_in_the_table(tmp_path: Path) -> None:
    url = str(tmp_path)
    write_receipt(url, receipt(0))
    assert compact_receipts(url, "mosaic") == 1
    write_receipt(url, receipt(1))
    assert damaged_receipts(url, "mosaic") == []
    assert [r.job for r in new_receipts(url, "mosaic")] == [Index(1, 4)]
    assert set(read_receipts(url, "mosaic")) == {Index(0, 4), Index(1, 4)}
    (path,) = (tmp_path / "mosaic").iterdir()
    path.write_bytes(path.read_bytes().replace(b"1.5", b"2.5"))
    assert damaged_receipts(url, "mosaic") == [f"mosaic/{Index(1, 4)}"]
    assert set(read_receipts(url, "mosaic")) == {Index(0, 4)}
    table = tmp_path / "mosaic.parquet"
    table.write_bytes(table.read_bytes()[:-9])
    assert damaged_receipts(url, "mosaic")[1] == "mosaic.parquet"
    assert read_receipts(url, "mosaic") == {}
    write_receipt(url, receipt(1))
    assert compact_receipts(url, "mosaic") == 1
    assert damaged_receipts(url, "mosaic") == []
    assert list_receipts(url, "mosaic") == {Index(1, 4): JobState.DONE}


def test_a_map_shows_the_worst_of_each_cell() -> None:
    states = np.full((5, 3), ShardState.DONE, np.uint8)
    states[4, 0] = ShardState.FAILED
    assert coarsen_states(states, 5, 3).tolist() == states.tolist()
    assert coarsen_states(states, 3, 2).tolist() == [[1, 1], [1, 1], [7, 1]]
