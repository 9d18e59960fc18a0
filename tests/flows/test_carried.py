"""Scenes that a rolling period left behind: which of them a later plan may take up again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dsdit.errors import StoreError
from dsdit.plan import Plan
from flows.prepare import keep_plan, make_plan
from flows.request import make_request
from tests.support.nights import CLOUD, add_scene, make_nights, night_record


def plan_on(record: dict[str, Any], day: int) -> Plan:
    """The plan of a day of July 2024, kept as the latest."""
    request = make_request(record)
    plan = make_plan(request, datetime(2024, 7, day, tzinfo=UTC), lambda _: None)
    keep_plan(plan, request.output)
    return plan


def scenes(plan: Plan) -> list[str]:
    """Ids of the scenes of the first cell, in their order."""
    return [plan.items[n]["id"] for n in plan.cells.lr[0, 0].tolist() if n >= 0]


def test_an_answer_that_is_replayed_days_later_gives_the_same_plan(weights: Path, tmp_path: Path) -> None:
    catalog = make_nights(tmp_path / "catalog")
    for day in (8, 9):
        add_scene(catalog, f"july-{day}", f"2024-07-0{day}T10:20:21Z", gain=1.1)
    record = night_record(catalog, weights, tmp_path / "out", period={"latest_days": 10})
    record["lr"]["rule"] = "median_clear"
    kept = plan_on(record, 10)
    assert scenes(kept) == ["july-9", "july-8", "first"]
    replayed = plan_on({**record, "search": "replay"}, 19)
    assert scenes(replayed) == scenes(kept)
    assert replayed.digest == kept.digest


def test_nothing_is_carried_over_a_start_that_was_written_or_out_of_a_source_that_changed(
    weights: Path, tmp_path: Path
) -> None:
    catalog = make_nights(tmp_path / "catalog")
    record = night_record(catalog, weights, tmp_path / "out", period={"start": "2024-07-01"})
    before = plan_on(record, 20)
    add_scene(catalog, "clouds", "2024-07-12T10:20:21Z", seen=CLOUD)
    assert scenes(plan_on({**record, "period": {"start": "2024-07-10"}}, 20)) == ["clouds"]
    rolling = {**record, "period": {"latest_days": 10}}
    assert scenes(plan_on(rolling, 14)) == ["first", "clouds"]
    assert scenes(plan_on(rolling, 20)) == ["first", "clouds"]
    source = catalog / "equator-lr.yaml"
    text = source.read_text()
    source.write_text(text.replace("scl, asset: scl}", "scl, asset: scl, nodata: [0, 1, 11]}"))
    assert source.read_text() != text
    after = plan_on(record, 20)
    assert not (after.items.digests[:1] == before.items.digests[:1]).all()
    plan_on(rolling, 14)
    source.write_text(text)
    assert scenes(plan_on(rolling, 20)) == ["clouds"]


def test_lost_names_of_items_are_not_made_up_anew(weights: Path, tmp_path: Path) -> None:
    catalog = make_nights(tmp_path / "catalog")
    record = night_record(catalog, weights, tmp_path / "out")
    names = plan_on(record, 20).item_names
    assert [json.loads(name)["id"] for name in names] == ["first", "reference"]
    (table,) = (tmp_path / "out" / "plans").glob("*.names.parquet")
    table.unlink()
    with pytest.raises(StoreError, match=r"names\.parquet is missing"):
        plan_on(record, 20)
