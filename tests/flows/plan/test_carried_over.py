"""Scenes that a rolling period left behind: which of them a later plan may take up again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dsdit.errors import CatalogError, StoreError
from dsdit.plan.plan import Plan
from flows.plan.make_plan import keep_plan, latest_plan, make_plan
from flows.request.request import make_request
from tests.support.commands import served
from tests.support.nightly_catalog import CLOUD, add_scene, make_nightly_catalog, nightly_record


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
    catalog = make_nightly_catalog(tmp_path / "catalog")
    for day in (8, 9):
        add_scene(catalog, f"july-{day}", f"2024-07-0{day}T10:20:21Z", gain=1.1)
    record = nightly_record(catalog, weights, tmp_path / "out", period={"latest_days": 10})
    record["lr"]["rule"] = "median_clear"
    kept = plan_on(record, 10)
    assert scenes(kept) == ["july-9", "july-8", "first"]
    replayed = plan_on({**record, "search": "replay"}, 19)
    assert scenes(replayed) == scenes(kept)
    assert replayed.digest == kept.digest


def test_nothing_is_carried_over_a_start_that_was_written_or_out_of_a_source_that_changed(
    weights: Path, tmp_path: Path
) -> None:
    catalog = make_nightly_catalog(tmp_path / "catalog")
    record = nightly_record(catalog, weights, tmp_path / "out", period={"start": "2024-07-01"})
    before = plan_on(record, 20)
    add_scene(catalog, "clouds", "2024-07-12T10:20:21Z", scl=CLOUD)
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
    catalog = make_nightly_catalog(tmp_path / "catalog")
    record = nightly_record(catalog, weights, tmp_path / "out")
    names = plan_on(record, 20).item_names
    assert [json.loads(name)["id"] for name in names] == ["first", "reference"]
    (table,) = (tmp_path / "out" / "plans").glob("*.names.parquet")
    table.unlink()
    with pytest.raises(StoreError, match=r"names\.parquet is missing"):
        plan_on(record, 20)


def test_nothing_is_due_when_a_period_has_no_scene_any_more(weights: Path, tmp_path: Path) -> None:
    record = nightly_record(
        make_nightly_catalog(tmp_path / "catalog"), weights, tmp_path / "out", period={"latest_days": 10}
    )
    first, later = plan_on(record, 10), plan_on(record, 30)
    assert scenes(first) == scenes(later) == ["first"]
    assert later.digest == first.digest
    np.testing.assert_array_equal(later.job_digests(), first.job_digests())
    with pytest.raises(CatalogError, match="nothing to do: no scene"):
        plan_on({**record, "output": str(tmp_path / "other")}, 30)


@pytest.mark.slow
def test_a_night_whose_period_has_no_scene_any_more_is_completed_and_touches_nothing(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    import flows.sr_region

    def run_on_day(day: int) -> Any:
        monkeypatch.setattr(flows.sr_region, "utc_now", lambda: datetime(2024, 7, day, tzinfo=UTC))
        return flows.sr_region.sr_region(str(path), nightly=True, return_state=True)

    cluster, path, out = tmp_path / "threads.yaml", tmp_path / "request.yaml", tmp_path / "out"
    cluster.write_text(yaml.safe_dump({"kind": "local", "options": {"processes": False, "dashboard_address": None}}))
    compute = {"cluster": str(cluster), "workers": 1}
    record = nightly_record(
        make_nightly_catalog(tmp_path / "catalog"),
        weights,
        out,
        period={"latest_days": 10},
        compute=compute,
        cog="never",
    )
    path.write_text(yaml.safe_dump(record))
    with temporary_settings({PREFECT_API_URL: served()["PREFECT_API_URL"]}):
        assert run_on_day(10).name == "Completed"
        mosaic = latest_plan(str(out)), contents(out / "mosaic.zarr")
        assert len(mosaic[1]) > 10
        assert run_on_day(30).name == "Completed"
        assert json.loads((out / "report.json").read_text())["jobs"]["due"] == 0
        assert (latest_plan(str(out)).digest, contents(out / "mosaic.zarr")) == (mosaic[0].digest, mosaic[1])


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file was written, and what is in it."""
    files = [path for path in folder.resolve().rglob("*") if path.is_file()]
    return {str(path.relative_to(folder.resolve())): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
