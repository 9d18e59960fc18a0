"""Times for which the catalogs are queried: references may be from before and after the scenes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dsdit.errors import CatalogError, RequestError
from flows.plan.make_plan import keep_plan, make_plan
from flows.plan.prepared import prepare
from flows.plan.search_and_measure import Searched, search_catalogs
from flows.request.request import Request, make_request
from tests.conftest import box
from tests.support.running import sample_record

NOW = datetime(2023, 1, 1, tzinfo=UTC)


def flights(catalog: Path, folder: Path) -> Path:
    """The sample catalog with one scene of June 2021, and with its first reference flown at other times."""
    features = json.loads((catalog / "items.json").read_text())["features"]
    scene = next(f for f in features if f["collection"] == "sample-lr")
    reference = next(f for f in features if f["collection"] == "sample-ref")
    made = [scene | {"properties": scene["properties"] | {"datetime": "2021-06-10T10:00:00Z"}}]
    for when in ("2020-01-01", "2021-07-20", "2022-06-30", "2022-12-01", "2023-03-01"):
        made.append(reference | {"id": when, "properties": reference["properties"] | {"datetime": f"{when}T10:00:00Z"}})
    folder.mkdir()
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": made}))
    return folder / "items.json"


def request(catalog: Path, weights: Path, folder: Path, items: Path, days: float, **changes: Any) -> Request:
    period = {"start": "2021-06-01T00:00:00Z", "end": "2021-06-30T00:00:00Z"}
    record = sample_record(catalog, weights, folder / "out", box(0, 320, 320, 0), period=period)
    for kind in ("lr", "ref"):
        record[kind] = record[kind] | {"endpoint": str(items)}
    record["ref"]["max_age_days"] = days
    return make_request(record | changes)


def searched(question: Request, now: datetime) -> Searched:
    return search_catalogs(prepare(question), now, lambda text: None)


def test_a_flight_after_the_scenes_is_a_reference_and_a_replay_gives_it_again(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    items = flights(catalog, tmp_path / "catalog")
    for days, expected in (
        (10.0, set()),
        (100.0, {"2021-07-20"}),
        (366.0, {"2021-07-20", "2022-06-30"}),
        (900.0, {"2020-01-01", "2021-07-20", "2022-06-30", "2022-12-01"}),
    ):
        found = searched(request(catalog, weights, tmp_path, items, days), NOW)
        assert {item.id for item in found.ref} == expected, days
        assert len(found.lr) == 1
    again = request(catalog, weights, tmp_path, items, 900.0, search="replay")
    assert searched(again, NOW.replace(year=2024)).ref == found.ref
    with pytest.raises(CatalogError, match="period"):
        searched(request(catalog, weights, tmp_path, items, 800.0, search="replay"), NOW)


def test_an_age_beyond_all_calendars_is_refused(catalog: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="max_age_days"):
        request(catalog, weights, tmp_path, catalog / "items.json", 1e9)


def test_references_are_searched_around_the_oldest_scene_that_is_carried(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    """A flight within the age of the scene of June stays its reference when June has left the period."""
    items = flights(catalog, tmp_path / "catalog")
    rolling = request(catalog, weights, tmp_path, items, 600.0, period={"latest_days": 30})
    first = make_plan(rolling, datetime(2021, 6, 20, tzinfo=UTC), lambda _: None)
    keep_plan(first, rolling.output)
    assert {item["id"] for item in first.items if item["source"] == "sample-ref"} == {"2020-01-01"}
    later = searched(rolling, datetime(2021, 11, 1, tzinfo=UTC))
    assert [scene.when.month for scene in later.carried] == [6]
    assert later.lr == later.carried
    assert {item.id for item in later.ref} == {"2020-01-01", "2021-07-20"}


def test_a_period_without_a_scene_is_an_error_where_none_is_carried(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    items = flights(catalog, tmp_path / "catalog")
    rolling = request(catalog, weights, tmp_path, items, 600.0, period={"latest_days": 10})
    with pytest.raises(CatalogError, match="nothing to do: no scene in"):
        searched(rolling, datetime(2021, 7, 1, tzinfo=UTC))
