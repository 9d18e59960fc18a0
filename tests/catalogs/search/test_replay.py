"""Answers kept as stac-geoparquet: nothing lost, nothing secret, and a run can be repeated without a catalog."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pystac
import pytest
import rustac
from shapely.geometry import box

from catalogs.search import geoparquet
from catalogs.search.geoparquet import decompress_item, item_json, pack, read_geoparquet, unpack
from catalogs.search.replay import replay_answer, save_answer
from catalogs.search.usable_scenes import search_items
from catalogs.source import load_source
from dsdit.errors import CatalogError
from dsdit.steps.publish.report import due_jobs
from flows.plan.make_plan import make_plan
from flows.request.request import make_request
from tests.catalogs.search.test_search import AREA, END, START, collection, many
from tests.conftest import box as sample_box
from tests.support.running import NOW, sample_record
from tests.support.stac import make_item, make_source

ASSETS = ("red", "green", "blue", "scl")


def odd_items() -> list[dict[str, Any]]:
    """Items whose properties fit no common columns."""
    items = [make_item("a", updated="2024-06-02T00:00:00Z", odd=[1, {"x": 1}]), make_item("b", odd={"y": None}, gsd=10)]
    items += [make_item("c", odd="text", eo__cloud_cover=3, created="2024-06-02T00:00:00.123456+02:00")]
    items[0]["assets"]["red"]["raster:bands"] = [{"scale": 1e-4, "offset": -0.2}]
    items[1]["assets"]["red"]["href"] += "?sig=SECRET"
    items[1]["assets"]["red"]["alternate"] = {"s3": {"href": "s3://bucket/key?token=SECRET"}}
    items[2]["geometry"] = {"type": "MultiPolygon", "coordinates": [items[2]["geometry"]["coordinates"]]}
    return items


def test_kept_items_come_back_whole_and_without_secrets() -> None:
    texts = [item_json(pystac.Item.from_dict(item), ASSETS) for item in odd_items()]
    content = pack(texts)
    assert unpack(content) == [json.loads(text) for text in texts]
    assert b"SECRET" not in content


def test_other_tools_read_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.parquet"
    path.write_bytes(pack(item_json(pystac.Item.from_dict(item), ASSETS) for item in odd_items()))
    features = rustac.read_sync(str(path))["features"]
    assert [f["id"] for f in features] == ["a", "b", "c"]
    assert features[0]["assets"]["red"]["href"] == "https://data.example/a/red.tif"
    assert features[0]["properties"]["datetime"].startswith("2024-06-01T10:00:00")


def test_items_that_are_of_no_use_are_kept_too() -> None:
    items = odd_items()
    items[0]["geometry"] = {"type": "Polygon", "coordinates": [[[float("nan"), 48], [11, 48], [11, 49], [10, 48]]]}
    items[1]["geometry"] = items[1]["bbox"] = None
    items[2]["assets"]["red"] |= {"type": 7, "roles": "data"}
    items[2]["properties"] |= {"platform": 3, "gsd": "10", "eo:cloud_cover": float("inf")}
    texts = [item_json(pystac.Item.from_dict(item), ASSETS) for item in items]
    assert unpack(pack(texts)) == [json.loads(text) for text in texts]
    assert unpack(pack(texts[:1])) == [json.loads(texts[0])]


def test_a_file_of_too_many_rows_is_refused_before_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first pages are broken, as whoever reads a row of it would find."""
    content = pack(item_json(pystac.Item.from_dict(make_item(f"{k}")), ASSETS) for k in range(7))
    path = tmp_path / "many.parquet"
    path.write_bytes(content[:4] + bytes(200) + content[204:])
    with pytest.raises(CatalogError, match="cannot be read as stac-geoparquet"):
        read_geoparquet(path)
    monkeypatch.setattr(geoparquet, "MAX_ROWS", 6)
    with pytest.raises(CatalogError, match=r"many\.parquet holds 7 items: more than 6 are not read"):
        read_geoparquet(path)


def test_a_replay_gives_the_same_scenes_without_a_request(tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(collection([*many(), make_item("hostile", host="https://evil.example")]))
    source = make_source(tmp_path / "items.json")
    found = search_items(source, AREA, START, END)
    save_answer(str(tmp_path / "kept"), "lr", source, AREA, (START, END), found)
    (tmp_path / "items.json").unlink()
    with pytest.raises(CatalogError, match="is not there"):
        search_items(source, AREA, START, END)
    again = replay_answer(str(tmp_path / "kept"), "lr", source, AREA, (START, END))
    assert again == found
    assert [i.digest for i in again.items] == [i.digest for i in found.items]
    assert len(again.dropped) == 2
    part = replay_answer(str(tmp_path / "kept"), "lr", source, AREA.buffer(-0.01), None)
    assert part.items == found.items


def test_an_empty_answer_is_kept_too(tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(collection([]))
    source = make_source(tmp_path / "items.json")
    save_answer(str(tmp_path), "lr", source, AREA, (START, END), search_items(source, AREA, START, END))
    assert replay_answer(str(tmp_path), "lr", source, AREA, None).items == ()
    assert not (tmp_path / "lr.parquet").exists()


def test_an_answer_to_another_question_is_not_replayed(tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(collection(many()))
    source, kept = make_source(tmp_path / "items.json"), str(tmp_path / "kept")
    with pytest.raises(CatalogError, match="holds no saved answer for lr: run once with search: keep"):
        replay_answer(kept, "lr", source, AREA, None)
    save_answer(kept, "lr", source, AREA, (START, END), search_items(source, AREA, START, END))
    for other, area, period, said in (
        (make_source(tmp_path / "items.json", where="gsd = 10"), AREA, None, "where is None, requested is gsd = 10"),
        (make_source(tmp_path), AREA, None, "endpoint"),
        (source, box(11, 48, 12, 49), None, "area"),
        (source, AREA, (START, NOW), "period"),
    ):
        with pytest.raises(CatalogError, match=said):
            replay_answer(kept, "lr", other, area, period)
    (tmp_path / "kept" / "lr.parquet").unlink()
    with pytest.raises(CatalogError, match="has lost the answer"):
        replay_answer(kept, "lr", source, AREA, None)
    (tmp_path / "kept" / "lr.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(CatalogError, match="of another answer"):
        replay_answer(kept, "lr", source, AREA, None)


def test_items_of_an_answer_that_was_cut_off_are_not_taken_for_those_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends between the two files of an answer to another query."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    kept = str(tmp_path / "kept")
    for count in (many(), many()[:5]):
        (tmp_path / "items.json").write_text(collection(count))
        source = make_source(tmp_path / "items.json")
        with suppress(KeyboardInterrupt):
            save_answer(kept, "lr", source, AREA, (START, END), search_items(source, AREA, START, END))
        monkeypatch.setattr("catalogs.search.replay.write_json", killed)
    with pytest.raises(CatalogError, match=r"of another answer for lr than lr\.json: .*run once with search: keep"):
        replay_answer(kept, "lr", source, AREA, (START, END))
    monkeypatch.undo()
    save_answer(kept, "lr", source, AREA, (START, END), search_items(source, AREA, START, END))
    assert len(replay_answer(kept, "lr", source, AREA, (START, END)).items) == 5
    path = tmp_path / "kept" / "lr.json"
    record = json.loads(path.read_text())
    del record["question"]["sha256"]
    path.write_text(json.dumps(record))
    assert len(replay_answer(kept, "lr", source, AREA, None).items) == 5, "answers were kept without it before"


def test_a_plan_is_the_same_when_the_catalog_is_gone(catalog: Path, weights: Path, tmp_path: Path) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", sample_box(0, 320, 320, 0))
    first = make_plan(make_request(record), NOW, lambda text: None)
    items = catalog / "items.json"
    content = items.read_text()
    try:
        items.write_text(collection([]))
        with pytest.raises(CatalogError, match="nothing to do"):
            make_plan(make_request({**record, "output": str(tmp_path / "other")}), NOW, lambda text: None)
        again = make_plan(make_request({**record, "search": "replay"}), NOW, lambda text: None)
    finally:
        items.write_text(content)
    assert again.digest == first.digest
    assert again.items
    assert due_jobs(again, str(tmp_path / "out" / "receipts")) == due_jobs(first, str(tmp_path / "out" / "receipts"))


def test_a_rolling_period_is_replayed_as_it_was(catalog: Path, weights: Path, tmp_path: Path) -> None:
    rolling = {"latest_days": 30}
    record = sample_record(catalog, weights, tmp_path / "out", sample_box(0, 320, 320, 0), period=rolling)
    first = make_plan(make_request(record), NOW, lambda text: None)
    later = NOW.replace(year=2026)
    again = make_plan(make_request({**record, "search": "replay"}), later, lambda text: None)
    assert again.digest == first.digest


def test_a_parquet_file_is_an_endpoint(catalog: Path, tmp_path: Path) -> None:
    features = json.loads((catalog / "items.json").read_text())["features"]
    rustac.write_sync(str(catalog / "items.parquet"), [f for f in features if f["collection"] == "sample-lr"])
    try:
        source, world = load_source("sample-lr"), box(-180, -90, 180, 90)
        period = START.replace(year=2000), END.replace(year=2100)
        listed, packed = (
            search_items(source.at(catalog / name), world, *period) for name in ("items.json", "items.parquet")
        )
    finally:
        (catalog / "items.parquet").unlink()
    assert listed.items
    assert [i.id for i in packed.items] == [i.id for i in listed.items]
    assert [i.hrefs for i in packed.items] == [i.hrefs for i in listed.items]
    assert [(i.scale, i.offset, i.when, i.crs) for i in packed.items] == [
        (i.scale, i.offset, i.when, i.crs) for i in listed.items
    ]


def test_a_kept_answer_is_an_endpoint(tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(collection(many()))
    requested = make_source(tmp_path / "items.json")
    found = search_items(requested, AREA, START, END)
    (tmp_path / "kept.parquet").write_bytes(pack(map(decompress_item, found.answer)))
    assert search_items(make_source(tmp_path / "kept.parquet"), AREA, START, END) == found
