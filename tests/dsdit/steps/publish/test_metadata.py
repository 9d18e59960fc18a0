"""Metadata of a mosaic: its place, its licence, and whom its users have to name."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from shapely.geometry import mapping, shape

from dsdit.grid import Grid
from dsdit.lonlat import lonlat_bbox, shorten_outline, within_180
from dsdit.plan.candidates import Items
from dsdit.plan.licences import attributions, fill_years, strictest
from dsdit.plan.plan import Plan
from dsdit.region import Region
from dsdit.steps.publish import cog
from dsdit.steps.publish.cog import write_cog
from dsdit.steps.publish.metadata import MOST_VERTICES, group_attributes, stac_item
from dsdit.steps.publish.report import make_report
from dsdit.window import Index, Window
from tests.support.running import NOW
from tests.support.shards import keep_receipts, make_mosaic, plan_of

SENTINEL: dict[str, Any] = {
    "endpoint": "https://catalog.example/v1",
    "licence": "Copernicus Sentinel data terms",
    "attribution": "Contains modified Copernicus Sentinel data {year}",
    "derivatives": "yes",
}
NAIP: dict[str, Any] = {
    "endpoint": "/home/somebody/items.json",
    "licence": "CC-BY-NC-4.0",
    "attribution": "Somebody's flights",
    "derivatives": "non-commercial",
}
CREDITS = ["Contains modified Copernicus Sentinel data 2023-2024", "Somebody's flights"]


def with_sources(plan: Plan) -> Plan:
    """The plan, of two scenes of two years and a reference of a third."""
    whens = {"a": ("s2", "2023-12-31T10:00:00+00:00"), "b": ("s2", "2024-07-01T10:00:00+00:00")}
    whens["c"] = ("naip", "2019-05-01T10:00:00+00:00")
    items = [{"id": n, "source": s, "when": when, "digest": n} for n, (s, when) in whens.items()]
    return replace(plan, sources={"s2": SENTINEL, "naip": NAIP}, items=Items.of(items))


def test_attribution_and_licence_go_with_every_output(tmp_path: Path) -> None:
    plan = with_sources(plan_of(shards=Window(-1, 0, 1, 2)))
    assert attributions(plan) == CREDITS
    make_mosaic(plan, str(tmp_path / "mosaic.zarr"), {Index(-1, 0): 1})
    keep_receipts(plan, str(tmp_path / "receipts"), [Index(-1, 0)])
    report = make_report(plan, str(tmp_path / "receipts"))
    attributes = group_attributes(plan, report, NOW)
    assert attributes["attribution"] == CREDITS
    assert attributes["licence"] == ["CC-BY-NC-4.0", "Copernicus Sentinel data terms"]
    item = stac_item(plan, NOW).to_dict()
    properties = item["properties"]
    assert item["stac_version"] == "1.1.0" and properties["license"] == "other"
    assert properties["attribution"] == "; ".join(CREDITS)
    naip, s2, own = properties["providers"]
    assert (s2["name"], s2["url"]) == ("s2", "https://catalog.example/v1") and "Copernicus" in s2["description"]
    assert naip["name"] == "naip" and "CC-BY-NC-4.0" in naip["description"] and "somebody" not in str(naip)
    assert own == {"name": "dsdit", "roles": ["processor"]}
    write_cog(plan, str(tmp_path / "mosaic.zarr"), str(tmp_path / "sr.tif"))
    with rasterio.open(tmp_path / "sr.tif") as file:
        assert file.tags()["TIFFTAG_COPYRIGHT"] == "; ".join(CREDITS)
        assert file.tags()["TIFFTAG_SOFTWARE"].startswith("dsdit ")


def test_one_licence_with_a_name_is_named() -> None:
    plan = replace(plan_of(), sources={"naip": NAIP})
    assert stac_item(plan, NOW).properties["license"] == "CC-BY-NC-4.0"
    assert stac_item(replace(plan, sources={"s2": SENTINEL}), NOW).properties["license"] == "other"


def test_the_years_are_those_of_the_items() -> None:
    assert fill_years("data {year}, modified", [2024, 2024]) == "data 2024, modified"
    assert fill_years("data {year}", [2024, 2021, 2023]) == "data 2021-2024"
    assert fill_years("data {year}", ()) == "data"
    assert fill_years("no years", [2024]) == "no years"


def test_the_strictest_terms_count() -> None:
    plan = with_sources(plan_of())
    assert strictest(plan) == ("non-commercial", ["naip"])
    free = {**NAIP, "derivatives": "yes"}
    assert strictest(replace(plan, sources={"s2": SENTINEL, "naip": free})) == ("yes", ["naip", "s2"])
    assert strictest(replace(plan, sources={**plan.sources, "x": {"derivatives": "no"}})) == ("no", ["x"])
    assert strictest(plan_of()) is None


@pytest.mark.parametrize(("crs", "west", "east"), [("EPSG:3832", 178.0, -178.0), ("EPSG:32701", 179.5, -179.0)])
def test_a_footprint_across_the_antimeridian_is_split_there(crs: str, west: float, east: float) -> None:
    grid = Grid(crs, 1.25, 8)
    parts = [shapely.box(west, -18, 180, -16), shapely.box(-180, -18, east, -16)]
    region = Region.from_geojson("fiji", grid, dict(mapping(shapely.MultiPolygon(parts))))
    for place in (region, Region.from_bounds("box", grid, region.footprint.bounds)):
        item = stac_item(replace(plan_of(), region=place), NOW)
        footprint = shape(item.geometry)
        assert footprint.geom_type == "MultiPolygon" and footprint.is_valid and len(footprint.geoms) == 2
        assert footprint.bounds[0] >= -180 and footprint.bounds[2] <= 180
        assert item.bbox is not None and item.bbox[0] > item.bbox[2]
        assert item.bbox[0] == pytest.approx(west, abs=0.06) and item.bbox[2] == pytest.approx(east, abs=0.06)
        assert item.bbox[1::2] == pytest.approx([-18, -16], abs=0.06)
        assert footprint.area == pytest.approx(2 * (360 + east - west), rel=0.06)


def star(points: int, radius: float, seed: int) -> shapely.Polygon:
    """An outline as ragged as a coast."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    far = radius * (1 + 0.002 * np.random.default_rng(seed).random(points) + 0.2 * np.sin(5 * angle))
    return shapely.Polygon(np.stack([far * np.cos(angle), far * np.sin(angle)], 1))


def test_a_long_outline_is_shortened_and_stays_valid_and_in_place() -> None:
    coast = shapely.affinity.translate(star(10_000, 300_000, 1), 500_000, 5_000_000)
    plan = plan_of(footprint=coast)
    item = stac_item(plan, NOW)
    shown, whole = shape(item.geometry), shape(plan.region.lonlat())
    assert shapely.get_num_coordinates(whole) > 10_000 - 1
    assert 100 < shapely.get_num_coordinates(shown) <= MOST_VERTICES and shown.is_valid
    assert shown.intersection(whole).area / shown.union(whole).area > 0.97
    assert item.bbox == pytest.approx(shown.bounds)


def test_more_islands_than_vertices_become_one_hull_on_each_side() -> None:
    x, y = np.meshgrid(np.linspace(170, 190, 16), np.linspace(-10, 10, 16))
    islands = [shapely.Point(*at).buffer(0.02, 3) for at in np.stack([x.ravel(), y.ravel()], 1)]
    split = within_180(shapely.MultiPolygon(islands))
    assert lonlat_bbox(split) == pytest.approx([169.98, -10.02, -169.98, 10.02])
    shown = shorten_outline(split, 200)
    assert shapely.get_num_coordinates(shown) <= 200 and shown.is_valid
    west, _, east, _ = lonlat_bbox(shown)
    assert west == pytest.approx(170, abs=0.3) and east == pytest.approx(-170, abs=0.3)
    assert shown.area == pytest.approx(20 * 20, rel=0.08)


def test_what_killed_writers_of_a_cog_left_is_removed_and_a_living_ones_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import time\nfrom dsdit.steps.publish import cog\n"
    code += "with cog._workspace() as p: print(p, flush=True); time.sleep(600)"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
        )
        for _ in range(2)
    ]
    try:
        dead, living = [Path(writer.stdout.readline().strip()) for writer in writers if writer.stdout]
        assert dead.is_dir() and living.is_dir()
        writers[0].kill()
        writers[0].wait()
        with cog._workspace() as mine:
            assert not dead.exists() and living.is_dir() and mine.is_dir()
        assert [path.name for path in tmp_path.iterdir()] == [living.name]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
