"""The outline or the land mask of a region changes while its output stays: what is outside now is removed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer

import dsdit.steps.publish.overview
import flows.publish.new_version
import flows.run.serial
from dsdit.mosaic.history import read_history
from dsdit.receipts.receipts import list_receipts
from dsdit.status import PixelStatus
from dsdit.steps.clearing import OUTLINE
from dsdit.store.arrays import open_group
from dsdit.window import Index
from tests.support.equator import equator_record
from tests.support.kept import equator_catalog
from tests.support.whole_runs import Finished, different, run_whole

LARGE = shapely.box(-330.0, -330.0, 330.0, 330.0)
"""Four shards of 360 m that meet at the origin, and a level above them."""
WHOLE = shapely.box(-70.0, -70.0, 70.0, 70.0)
"""Parts of the same shards."""
SOUTH_EAST = Index(0, 0)
HOLE = shapely.box(-10.0, -400.0, 400.0, 10.0)
"""All of the south-eastern shard and a strip of its neighbours."""


def geojson(path: Path, shape: shapely.Geometry) -> str:
    to_degrees = Transformer.from_crs(3857, 4326, always_xy=True)
    degrees = shapely.transform(shape, lambda c: np.stack(to_degrees.transform(c[:, 0], c[:, 1]), 1))
    path.write_text(json.dumps(shapely.geometry.mapping(degrees)))
    return str(path)


@pytest.fixture
def record(weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    catalog = equator_catalog(tmp_path_factory.getbasetemp())
    record = equator_record(catalog, weights, tmp_path / "out", (0, 0, 1, 1), sampling={"steps": 1, "batch": 4})
    del record["bounds"]
    return {**record, "geojson": geojson(tmp_path / "whole.json", WHOLE), "keep_reference": True}


def fresh(record: dict[str, Any]) -> Finished:
    return run_whole({**record, "output": f"{record['output']}-fresh"})


def cog(ran: Finished) -> np.ndarray:
    with rasterio.open(Path(ran.output) / "sr.tif") as file:
        return file.read()


@pytest.mark.parametrize(("store", "shape"), [("zarr", LARGE), ("icechunk", WHOLE)])
def test_a_hole_over_a_shard_leaves_what_a_fresh_run_makes(
    store: str, shape: shapely.Geometry, record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through levels, overview and COG; and the whole region again on the day after."""
    monkeypatch.setattr(dsdit.steps.publish.overview, "MOST_PX", 20 if shape is LARGE else 10)
    record |= {"store": store, "geojson": geojson(tmp_path / "large.json", shape)}
    before = run_whole(record)
    smaller = {**record, "geojson": geojson(tmp_path / "without.json", shape.difference(HOLE))}
    after, new = run_whole(smaller), fresh(smaller)
    assert different(after, new) == []
    assert {"ref/ref", "overview/sr", *(["1/sr"] if shape is LARGE else [])} <= after.layers.keys()
    assert np.array_equal(cog(after), cog(new))
    outside = ~after.plan.region.mask(after.plan.layout.mosaic_jobs_window.refine(after.plan.lattice.shard_px))
    assert not after.layers["0/status"][outside].any() and before.layers["0/status"][outside].any()
    assert after.report.jobs == {"cleared": 1, "done": 3, "due": 0, "planned": 3}
    counted = {state.name.lower(): int((after.layers["0/status"] == state).sum()) for state in PixelStatus if state}
    assert counted == after.report.pixels
    assert sorted(list_receipts(f"{after.output}/receipts", "mosaic")) == sorted(after.plan.layout.mosaic_jobs)
    assert read_history(after.output)[-1]["shards"] == {"cleared": 1, "done": 3}
    again = run_whole(record)
    assert again.due == 4 and different(again, before) == []


def test_a_land_mask_that_leaves_a_shard_out_is_published_with_nothing_due(
    record: dict[str, Any], tmp_path: Path
) -> None:
    run_whole(record)
    land = {**record, "land": geojson(tmp_path / "land.json", shapely.box(-70, -70, -5, 70))}
    after = run_whole(land)
    assert after.due == 0 and after.report.jobs == {"cleared": 2, "done": 2, "due": 0, "planned": 2}
    assert different(after, fresh(land)) == []
    assert (Path(after.output) / "current").readlink().name == "2"
    run_whole(land)
    assert (Path(after.output) / "current").readlink().name == "2", "once is enough"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", ["mask_shard", "publish_run"])
def test_a_run_that_is_killed_while_it_removes_shards_is_continued(
    at: str, record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_whole(record)
    smaller = {**record, "geojson": geojson(tmp_path / "without.json", WHOLE.difference(HOLE))}

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(dsdit.steps.clearing if at == "mask_shard" else flows.publish.new_version, at, killed)
        run_whole(smaller)
    after = run_whole(smaller)
    assert after.report.jobs["cleared"] == 1 and different(after, fresh(smaller)) == []


def test_a_shard_that_fails_keeps_its_old_pixels_within_the_new_outline_only(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bay within one shard, on the very day on which that shard cannot be written."""
    before = run_whole(record)
    bay = shapely.box(20.0, -80.0, 40.0, -30.0)
    smaller = {**record, "geojson": geojson(tmp_path / "bay.json", WHOLE.difference(bay))}
    step = flows.run.serial.run_step

    def failing(name: str, job: Index, places: Any) -> Any:
        if name == "mosaic" and tuple(job) == SOUTH_EAST:
            raise OSError("the disk is full")
        return step(name, job, places)

    monkeypatch.setattr(flows.run.serial, "run_step", failing)
    after = run_whole(smaller)
    assert after.report.jobs["failed"] == 1
    place = after.plan.lattice.shard_window(SOUTH_EAST)
    window = after.plan.layout.mosaic_jobs_window.refine(after.plan.lattice.shard_px)
    inside = after.plan.region.mask(place)
    old, new = (ran.layers["0/status"][place.within(window)] for ran in (before, after))
    assert np.array_equal(new, np.where(inside, old, PixelStatus.OUTSIDE)) and (old != new).any()
    old, new = (ran.layers["0/sr"][(..., *place.within(window))] for ran in (before, after))
    assert np.array_equal(new, np.where(inside, old, 65535))


def test_shards_outside_that_an_older_version_left_behind_are_found(record: dict[str, Any], tmp_path: Path) -> None:
    """A mosaic without the attribute, whose shards nobody has a receipt of, as killed runs leave them."""
    run_whole(record)
    smaller = {**record, "geojson": geojson(tmp_path / "without.json", WHOLE.difference(HOLE))}
    mosaic = Path(record["output"]) / "versions/1/mosaic.zarr"
    root = open_group(str(mosaic))
    del root.attrs[OUTLINE]
    shutil.rmtree(Path(record["output"]) / "receipts")
    assert different(run_whole(smaller), fresh(smaller)) == []
