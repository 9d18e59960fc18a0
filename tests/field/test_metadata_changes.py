"""What a mosaic says of itself changes while no shard is due: it is published all the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from dsdit.mosaic.versions import mosaic_store
from dsdit.store.arrays import open_group
from tests.support.equator import equator_record, make_equator
from tests.support.kept import SOUTH
from tests.support.nightly_catalog import CLOUD, NORTH, add_scene, make_nightly_catalog, nightly_record
from tests.support.whole_runs import Finished, run_whole


@pytest.fixture
def record(weights: Path, tmp_path: Path) -> dict[str, Any]:
    catalog = make_equator(tmp_path / "catalog")
    return equator_record(catalog, weights, tmp_path / "out", SOUTH, sampling={"steps": 1, "batch": 4})


def root(ran: Finished) -> dict[str, Any]:
    with mosaic_store(ran.output).reading() as mosaic:
        return open_group(mosaic, "r").attrs.asdict()


def version(ran: Finished) -> int:
    return max(mosaic_store(ran.output).versions())


@pytest.mark.parametrize("store", ["zarr", "icechunk"])
def test_another_licence_and_attribution_are_published_with_nothing_due(store: str, record: dict[str, Any]) -> None:
    record["store"] = store
    first = run_whole(record)
    source = Path(record["lr"]["source"])
    source.write_text(source.read_text().replace("Made by the tests", "Made by others").replace("CC0-1.0", "CC-BY-4.0"))
    second = run_whole(record)
    assert second.due == 0 and version(second) == 2
    assert root(second)["licence"] == ["CC-BY-4.0", "CC0-1.0"]
    assert root(second)["attribution"] == ["Made by others", "Made by the tests"]
    assert second.item()["properties"]["attribution"] == "Made by others; Made by the tests"
    with rasterio.open(Path(second.output) / "sr.tif") as file:
        assert file.tags()["TIFFTAG_COPYRIGHT"] == "Made by others; Made by the tests"
    assert all(np.array_equal(values, second.layers[name]) for name, values in first.layers.items() if "item" in name)
    assert version(run_whole(record)) == 2, "once is enough"
    (Path(record["output"]) / "current/item.json").write_text("{")
    assert version(run_whole(record)) == 3, "an item that cannot be read is written again"


def test_a_reference_that_is_no_longer_kept_is_removed(record: dict[str, Any]) -> None:
    kept = run_whole({**record, "keep_reference": True})
    assert "ref/ref" in kept.layers and (Path(kept.output) / "current/mosaic.zarr/ref/ref/c").is_dir()
    after = run_whole(record)
    assert after.layers.keys() == kept.layers.keys() - {"ref/ref"}
    assert not (Path(after.output) / "current/mosaic.zarr/ref").exists()
    assert (Path(after.output) / "versions/1/mosaic.zarr/ref/ref/c").is_dir(), "the older version has it still"
    shutil.rmtree(Path(after.output) / "versions/1")


def test_a_run_whose_shards_all_fail_changes_no_metadata(
    record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the settings of a run that wrote nothing would be those of the pixels of the run before."""
    import flows.run.serial

    before = root(run_whole(record))

    def failing(*_: Any) -> Any:
        raise OSError("the disk is full")

    monkeypatch.setattr(flows.run.serial, "run_step", failing)
    second = run_whole({**record, "sampling": {"steps": 2, "batch": 4}})
    assert second.report.jobs["failed"] == 1 and version(second) == 1
    assert root(second) == before


def test_the_item_has_the_dates_of_scenes_that_pixels_are_from(weights: Path, tmp_path: Path) -> None:
    """A later scene that is all cloud gives none, and neither does a reference, even one that is flown later."""
    catalog = make_nightly_catalog(tmp_path / "catalog")
    items = json.loads((catalog / "items.json").read_text())
    items["features"][1]["properties"]["datetime"] = "2024-07-18T11:00:00Z"
    (catalog / "items.json").write_text(json.dumps(items))
    add_scene(catalog, "clouds", "2024-07-12T10:20:21Z", scl=CLOUD)
    record = {**nightly_record(catalog, weights, tmp_path / "out"), "bounds": [22.0, -60.0, 96.0, 60.0]}
    first = run_whole(record).item()["properties"]
    assert first["datetime"] == "2024-07-06T10:20:21Z" and "start_datetime" not in first
    add_scene(catalog, "north", "2024-07-08T10:20:21Z", NORTH)
    second = run_whole(record).item()["properties"]
    assert second["start_datetime"] == "2024-07-06T10:20:21Z"
    assert second["end_datetime"] == second["datetime"] == "2024-07-08T10:20:21Z"
