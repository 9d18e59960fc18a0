"""Measures that are many lie in one table; what is in it is what was kept, and a younger object goes before it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from catalogs.measure.records import KINDS, Records, join_records
from dsdit.errors import LeaseError, StoreError
from flows.plan.make_plan import make_plan
from flows.request.request import make_request
from tests.conftest import box
from tests.support.displaced import displaced
from tests.support.running import NOW, sample_record


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def fill(folder: Path, numbers: range, version: int = 0) -> None:
    records = Records(str(folder), "fit")
    for number in numbers:
        records.put(key_of(number), {"number": number, "version": version, "words": f"é {number}"})


def all_of(folder: Path, numbers: range) -> dict[int, Any]:
    records = Records(str(folder), "fit")
    found = {number: records.get(key_of(number))[1] for number in numbers}
    return {number: record and record["version"] for number, record in found.items()}


def test_a_table_holds_what_the_objects_held_and_the_younger_record_counts(tmp_path: Path) -> None:
    fill(tmp_path, range(1500))
    assert join_records(str(tmp_path), lambda: None) == 1500
    assert list((tmp_path / "fit").iterdir()) == []
    assert all_of(tmp_path, range(2000)) == {n: 0 if n < 1500 else None for n in range(2000)}
    fill(tmp_path, range(1000, 2500), version=1)
    wanted = {n: 0 if n < 1000 else 1 for n in range(2500)}
    assert all_of(tmp_path, range(2500)) == wanted
    assert join_records(str(tmp_path), lambda: None) == 1500
    assert all_of(tmp_path, range(2500)) == wanted
    keys = Records(str(tmp_path), "fit").keys
    assert [key.tobytes().hex() for key in keys] == sorted(key_of(n) for n in range(2500))


def test_few_stay_objects_and_many_are_joined_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, range(999))
    assert join_records(str(tmp_path), lambda: None) == 0 and not (tmp_path / "fit.parquet").exists()
    monkeypatch.setattr("catalogs.measure.records.JOINED_FROM", 100)
    monkeypatch.setattr("catalogs.measure.records.JOINED_AT_ONCE", 300)
    monkeypatch.setattr("catalogs.measure.records._ROWS", 64)
    assert join_records(str(tmp_path), lambda: None) == 900
    assert len(list((tmp_path / "fit").iterdir())) == 99
    assert all_of(tmp_path, range(1000)) == {n: 0 if n < 999 else None for n in range(1000)}


def test_killed_before_the_objects_are_removed_nothing_is_lost(tmp_path: Path) -> None:
    fill(tmp_path, range(1200))
    requested: list[int] = []

    def once() -> None:
        requested.append(1)
        if len(requested) == 2:
            raise LeaseError("another run has the output")

    with pytest.raises(LeaseError):
        join_records(str(tmp_path), once)
    assert len(list((tmp_path / "fit").iterdir())) == 1200 and (tmp_path / "fit.parquet").exists()
    assert all_of(tmp_path, range(1200)) == dict.fromkeys(range(1200), 0)
    assert join_records(str(tmp_path), lambda: None) == 1200
    assert all_of(tmp_path, range(1200)) == dict.fromkeys(range(1200), 0)


def test_damage_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    fill(tmp_path, range(1100))
    broken = tmp_path / "fit" / f"{key_of(7)}.json"
    broken.write_text("{")
    (tmp_path / "fit" / "notes.json").write_text("{}")
    assert join_records(str(tmp_path), lambda: None) == 1099
    assert {path.name for path in (tmp_path / "fit").iterdir()} == {broken.name, "notes.json"}
    with pytest.raises(StoreError, match=rf"{broken.name} is damaged"):
        Records(str(tmp_path), "fit").get(key_of(7))
    table = tmp_path / "fit.parquet"
    whole = bytearray(table.read_bytes())
    whole[len(whole) // 3] ^= 1
    table.write_bytes(whole)
    with pytest.raises(StoreError, match=r"fit.parquet is damaged: .*remove it, and what it holds is measured again"):
        Records(str(tmp_path), "fit")


def test_a_plan_from_tables_is_the_plan_from_objects(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = sample_record(
        displaced(catalog, tmp_path / "sample", 3.0, -2.5), weights, tmp_path / "out", box(100.0, 340.0, 420.0, 100.0)
    )
    record["lr"]["balance"] = True
    first = make_plan(make_request(record), NOW, lambda _: None)
    folder = tmp_path / "out" / "measures"
    kept = {kind: len(list((folder / kind).iterdir())) for kind in KINDS}
    assert all(kept.values())
    monkeypatch.setattr("catalogs.measure.records.JOINED_FROM", 1)
    assert join_records(str(folder), lambda: None) == sum(kept.values())
    assert make_plan(make_request(record), NOW, lambda _: None).digest == first.digest
    assert not [path for kind in KINDS for path in (folder / kind).iterdir()], "nothing was measured again"
    (key,) = {key.tobytes().hex() for key in Records(str(folder), "fit").keys[:1]}
    Records(str(folder), "fit").put(key, {"fit": {"gain": [1]}})
    join_records(str(folder), lambda: None)
    with pytest.raises(StoreError, match=rf"fit.parquet at {key} is no measure of fit"):
        make_plan(make_request(record), NOW, lambda _: None)
    Records(str(folder), "fit").put(key, json.loads('{"fit": {"gain": [1, 1, 1], "offset": [0, 0, 0], "samples": 64}}'))
    assert make_plan(make_request(record), NOW, lambda _: None).digest != first.digest
