"""The cost of a plan; a land mask leaves out jobs and changes no pixel of the others."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import yaml
from odc.geo.geom import Geometry
from PIL import Image
from typer.testing import CliRunner

from catalogs.source import SOURCES_FOLDER
from dsdit.errors import RequestError
from dsdit.lattice.job_mask import Jobs
from dsdit.plan.plan import Plan
from dsdit.steps.publish.report import due_jobs
from dsdit.steps.publish.shard_map import COLOURS
from dsdit.store.objects import write_json
from dsdit.window import Index
from flows.cli.main import app
from flows.plan.cost import last_speed, picture_of_plan, price
from flows.plan.work import with_scene
from flows.report import report_record
from flows.request.land_mask import read_land
from flows.request.settings import Cost
from tests.conftest import box
from tests.support.checks import check_same_answer
from tests.support.running import Ran, prepare, run_here, sample_record

WHOLE = box(411.9, 324.6, 587.3, 162.2)
"""Over four shards of 384 px."""
SHARDS_384 = {"chunk_strides": 4, "shard_chunks": 1}


def write_land(path: Path, *shapes: shapely.Geometry) -> Path:
    """Polygons in EPSG:32632 as a GeoJSON file in degrees, beside a road that is no land."""
    lonlat = [Geometry(s, "EPSG:32632").to_crs("EPSG:4326").geom for s in shapes]
    road = shapely.LineString([(11.9, 48.0), (12.0, 48.1)])
    features = [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(g)} for g in [*lonlat, road]]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def shard_box(plan: Plan, job: Index) -> shapely.Geometry:
    return shapely.box(*plan.region.grid.bounds_of(plan.lattice.shard_window(job), plan.region.grid.gsd_m))


@pytest.fixture(scope="module")
def whole(catalog: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    output = tmp_path_factory.mktemp("no_land") / "output"
    return run_here(sample_record(catalog, weights, output, WHOLE, tiling=SHARDS_384))


@pytest.mark.slow
def test_land_leaves_out_jobs_and_changes_no_pixel_of_the_others(
    whole: Ran, catalog: Path, weights: Path, tmp_path: Path
) -> None:
    jobs = list(whole.plan.layout.mosaic_jobs)
    assert len(jobs) == 4
    wet, dry = jobs[0], jobs[1:]
    land = write_land(tmp_path / "land.geojson", *(shard_box(whole.plan, job).buffer(-20) for job in dry))
    record = sample_record(catalog, weights, tmp_path / "output", WHOLE, tiling=SHARDS_384, land=str(land))
    ran = run_here(record)
    layout = ran.plan.layout
    assert list(layout.mosaic_jobs) == dry and list(layout.map.off_land) == [wet]
    assert layout.mosaic_jobs_window == whole.plan.layout.mosaic_jobs_window
    assert layout.tile_count <= whole.plan.layout.tile_count
    assert ran.report.jobs == {"done": 3, "planned": 3, "due": 0}
    for job in dry:
        assert ran.plan.job_digest(job) == whole.plan.job_digest(job)
        window = ran.plan.lattice.shard_window(job).intersect(ran.plan.region.window)
        for name in ("sr", "status"):
            assert ran.pixels(window, name).tobytes() == whole.pixels(window, name).tobytes()
    window = ran.plan.lattice.shard_window(wet).intersect(ran.plan.region.window)
    assert not ran.pixels(window, "status").any() and whole.pixels(window, "status").all()
    assert price(ran.plan)["shards_off_land"] == 1 and price(whole.plan)["shards_off_land"] == 0
    assert ran.plan.digest != whole.plan.digest


@pytest.mark.slow
def test_land_everywhere_is_as_none(whole: Ran, catalog: Path, weights: Path, tmp_path: Path) -> None:
    land = write_land(tmp_path / "land.geojson", whole.plan.region.footprint.buffer(3000))
    record = sample_record(catalog, weights, tmp_path / "output", WHOLE, tiling=SHARDS_384, land=str(land))
    check_same_answer(whole, run_here(record))


def test_off_land_is_what_a_plain_test_of_each_shard_gives(catalog: Path, weights: Path, tmp_path: Path) -> None:
    tiling = {"chunk_strides": 2, "shard_chunks": 2}
    record = sample_record(catalog, weights, tmp_path / "output", box(0, 480, 640, 0), tiling=tiling)
    _, plan, _ = prepare(record)
    jobs = list(plan.layout.mosaic_jobs)
    pick = np.random.default_rng(0)
    x0, y0, x1, y1 = plan.region.footprint.bounds
    for _ in range(20):
        at = pick.uniform((x0, y0), (x1, y1))
        parts = shapely.union_all(
            [shapely.Point(*at).buffer(pick.uniform(5, 150)), shapely.Point(x1, y0).buffer(pick.uniform(5, 90))]
        )
        masked = replace(plan, land_wkt=parts.wkt).layout
        dry = [job for job in jobs if shard_box(plan, job).intersects(parts)]
        assert list(masked.mosaic_jobs) == dry
        assert sorted([*masked.mosaic_jobs, *masked.map.off_land]) == jobs
        tiles = {tile for job in masked.sample_jobs for tile in masked.sample_tiles(job)}
        assert len(tiles) == masked.tile_count
        needed = {
            t
            for job in dry
            for t in plan.lattice.tiles_touching(masked.clip(job).expand(plan.lattice.halo_px)).indices()
        }
        assert tiles == needed


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("no json", ("cannot be read as GeoJSON",)),
        ('{"type": "Point", "coordinates": [12, 48]}', ("holds no polygon",)),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}', ("nothing near", "'test'")),
        ('{"type": "Polygon", "coordinates": [[[7e5, 5e6], [8e5, 5e6], [8e5, 6e6], [7e5, 5e6]]]}', ("degrees",)),
    ],
)
def test_a_land_file_that_cannot_be_used_is_one_sentence(
    content: str, parts: tuple[str, ...], whole: Ran, tmp_path: Path
) -> None:
    path = tmp_path / "land.geojson"
    path.write_text(content)
    with pytest.raises(RequestError) as caught:
        read_land(path, whole.plan.region, whole.plan.lattice)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in (str(path), *parts))
    with pytest.raises(RequestError, match=r"missing\.geojson"):
        read_land(tmp_path / "missing.geojson", whole.plan.region, whole.plan.lattice)


def test_a_part_costs_what_it_takes_and_no_more(whole: Ran) -> None:
    plan, layout = whole.plan, whole.plan.layout
    jobs = list(layout.mosaic_jobs)
    full, one = price(plan), price(plan, Jobs.of(jobs[:1]))
    assert full["network_calls"] == whole.report.calls
    near = set(jobs[0].neighbours())
    samples = [job for job in layout.sample_jobs if job in near]
    assert one["tiles"] == sum(len(layout.sample_tiles(job)) for job in samples)
    assert (one["shards_due"], full["shards_due"]) == (1, 4)
    assert 4 * one["bytes_written"] == full["bytes_written"]
    nothing = price(plan, Jobs.of([]))
    assert nothing["network_calls"] == nothing["bytes_read"] == nothing["objects"] == nothing["device_hours"] == 0


def test_objects_are_those_that_a_run_writes(whole: Ran) -> None:
    shards = [p for p in Path(whole.places.mosaic).rglob("c/**/*") if p.is_file() and "/y/" not in str(p)]
    shards = [p for p in shards if "/x/" not in str(p) and "/band/" not in str(p)]
    assert len(shards) == 4 * 8
    assert price(whole.plan)["objects"] >= len(shards)


def test_shards_without_any_scene_are_counted_and_cost_no_network(whole: Ran) -> None:
    plan = whole.plan
    lr = np.full_like(plan.cells.lr, -1)
    empty = replace(plan, cells=type(plan.cells)(plan.cells.window, lr, plan.cells.ref))
    assert not with_scene(empty, plan.layout.mosaic_jobs_window).any()
    cost = price(empty)
    assert cost["shards_without_scene"] == 4 and cost["tiles_without_scene"] == plan.layout.tile_count
    assert cost["network_calls"] == 0 and cost["bytes_read"] == 0


def test_money_needs_a_price_and_is_a_sum(whole: Ran) -> None:
    plan = whole.plan
    plain = price(plan)
    assert not [key for key in plain if key.startswith("price")]
    cost = Cost(device_hour=3.0, thousand_requests=0.4, gb_month=0.02, seconds_per_tile=36.0)
    result = price(plan, None, cost)
    assert result["device_hours"] == pytest.approx((result["tiles"] - result["tiles_without_scene"]) * 0.01)
    assert result["price_of_the_run"] == pytest.approx(result["device_hours"] * 3 + result["requests"] * 0.0004)
    assert result["price_of_keeping_a_month"] == pytest.approx(result["bytes_written"] / 1e9 * 0.02)
    assert "as set" in result["speed"] and "assumed" in plain["speed"]


def test_hours_follow_from_the_last_run_of_the_same_network(whole: Ran) -> None:
    output, plan = whole.request.output, whole.plan
    assert last_speed(plan, output) is None
    write_json(f"{output}/report.json", report_record(whole.report))
    found = last_speed(plan, output)
    assert found is not None and found[0] == whole.report.seconds["sample"] / whole.report.calls
    result = price(plan, None, None, found)
    assert result["device_hours"] == pytest.approx(whole.report.seconds["sample"] / 3600)
    assert "measured" in result["speed"]
    assert last_speed(replace(plan, model=replace(plan.model, digest="0" * 64)), output) is None
    assert last_speed(replace(plan, sampler=replace(plan.sampler, batch=5)), output) is None


def colours(png: bytes) -> set[tuple[int, ...]]:
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    found, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    seen = {tuple(colour) for colour in found[counts > 2000].tolist()}
    return seen & set(COLOURS.values())


@pytest.mark.slow
def test_the_picture_shows_what_is_done_due_and_off_land(whole: Ran) -> None:
    plan = whole.plan
    jobs = plan.layout.mosaic_jobs
    done, due, off = COLOURS["done"], COLOURS["due"], COLOURS["off land"]
    assert due_jobs(plan, whole.places.receipts) == []
    assert colours(picture_of_plan(plan, due_jobs(plan, whole.places.receipts))) == {done}
    assert colours(picture_of_plan(plan, jobs)) == {due}
    assert colours(picture_of_plan(plan, Jobs.of(list(jobs)[:1]))) == {done, due}
    dry = replace(plan, land_wkt=shard_box(plan, jobs[3]).buffer(-20).wkt)
    assert colours(picture_of_plan(dry, dry.layout.mosaic_jobs)) >= {off}


@pytest.mark.slow
def test_status_shows_how_far_a_dead_run_came(whole: Ran, catalog: Path, weights: Path, tmp_path: Path) -> None:
    steps = [receipt.step for receipt in whole.receipts]
    dead = sample_record(catalog, weights, tmp_path / "dead", WHOLE, tiling=SHARDS_384)
    run_here(dead, stop_after=steps.index("mosaic") + 1)
    picture = tmp_path / "map.png"
    result = CliRunner().invoke(app, ["status", str(tmp_path / "dead"), "--picture", str(picture)])
    assert result.exit_code == 0, result.output
    assert "1 done, 3 due" in result.output
    legend = {word: letter for letter, word in re.findall(r"(\S)\s+(done|waiting|staged|sampled)\b", result.output)}
    rows = [line.split() for line in result.output.splitlines() if set(line.split()) <= set(legend.values()) and line]
    shown = Counter(letter for row in rows for letter in row)
    assert shown[legend["done"]] == 1 and shown.total() == 4, result.output
    assert COLOURS["done"] in colours(picture.read_bytes())
    assert colours(picture.read_bytes()) & {COLOURS[name] for name in ("waiting", "staged", "sampled")}


def test_the_command_prints_all_of_it(catalog: Path, weights: Path, tmp_path: Path) -> None:
    record: dict[str, Any] = sample_record(catalog, weights, tmp_path / "out", WHOLE, tiling=SHARDS_384)
    path = tmp_path / "request.yaml"
    path.write_text(yaml.safe_dump(record))
    result = CliRunner().invoke(app, ["plan", str(path), "--set", "cost.device_hour=2.5"])
    assert result.exit_code == 0, result.output
    for parts in ("shards off land", "tiles without scene", "bytes scratch peak", "requests", "price of the run"):
        assert parts in result.output
    text = " ".join(result.output.replace("│", " ").split())
    assert "sample-lr: CC0-1.0 (derivatives: yes)" in text and "sample-ref: CC0-1.0 (derivatives: yes)" in text
    assert "derivatives yes (source sample-lr, sample-ref)" in text
    for setting in ("default", "faithful"):
        assert f"{setting}: euler, steps 2 (spaced), guidance 1, ensemble 1, 2 network passes a tile" in text
    picture = tmp_path / "out" / "plan.png"
    assert f"picture: {picture}" in result.output.replace("\n", "") and Image.open(picture).size[0] > 100
    wrong = CliRunner().invoke(app, ["plan", str(path), "--set", "land=no-such.geojson"])
    assert wrong.exit_code == 2 and "no-such.geojson" in wrong.output


def own_source(folder: Path, name: str, derivatives: str) -> Path:
    """A shipped source under other terms."""
    record = yaml.safe_load((SOURCES_FOLDER / f"{name}.yaml").read_text())
    path = folder / f"own-{name}.yaml"
    path.write_text(yaml.safe_dump({**record, "derivatives": derivatives, "licence": "CC-BY-NC-4.0"}))
    return path


def test_the_strictest_terms_are_shown_before_a_run(catalog: Path, weights: Path, tmp_path: Path) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", WHOLE, tiling=SHARDS_384)
    record["ref"]["source"] = str(own_source(tmp_path, "sample-ref", "non-commercial"))
    path = tmp_path / "request.yaml"
    path.write_text(yaml.safe_dump(record))
    result = CliRunner().invoke(app, ["plan", str(path)])
    assert result.exit_code == 0, result.output
    assert "derivatives non-commercial (source sample-ref)" in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("kind", ["lr", "ref"])
def test_a_source_that_allows_no_derivatives_is_refused(
    command: str, kind: str, catalog: Path, weights: Path, tmp_path: Path
) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", WHOLE, tiling=SHARDS_384)
    record[kind]["source"] = str(own_source(tmp_path, f"sample-{kind}", "no"))
    path = tmp_path / "request.yaml"
    path.write_text(yaml.safe_dump(record))
    result = CliRunner().invoke(app, [command, str(path)])
    assert result.exit_code == 2
    assert f"source sample-{kind} allows no derivatives (CC-BY-NC-4.0): take another one" in result.output
    assert not list((tmp_path / "out").glob("plans/*"))
