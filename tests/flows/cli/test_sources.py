"""`dsdit sources`: sound records in a table, and a real question to a real catalog on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import yaml
from affine import Affine
from typer.testing import CliRunner

from catalogs.source import known_sources
from flows.cli.main import app
from tests.support.stac import make_item, make_source
from tests.support.web import file_server, stac_server


def cog(path: Path, values: int, dtype: str = "uint16", gsd_m: float = 10.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = int(1280 / gsd_m)
    place = Affine(gsd_m, 0, 590_000, 0, -gsd_m, 5_340_000)
    profile = {"driver": "COG", "count": 1, "height": size, "width": size, "crs": "EPSG:32632", "blocksize": 128}
    with rasterio.open(path, "w", dtype=dtype, transform=place, **profile) as file:
        file.write(np.full((1, size, size), values, dtype))


def own_source(folder: Path, endpoint: str) -> Path:
    source = make_source(endpoint, hosts=["127.0.0.1"], schemes=["http", "https"])
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(source.model_dump(mode="json")))
    return path


def test_the_table_has_every_source_and_a_broken_one_is_a_sentence(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["sources"])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in known_sources())
    assert "requester pays" in listed.output
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(make_source(tmp_path).model_dump(mode="json") | {"where": "platform =="}))
    listed = CliRunner().invoke(app, ["sources", "--file", str(broken)])
    assert listed.exit_code == 2
    assert "no CQL2" in listed.stderr
    assert "Traceback" not in listed.output


def test_a_live_catalog_is_queried_and_a_window_of_its_pixels_read(tmp_path: Path) -> None:
    with file_server(tmp_path / "files") as (web, requested):
        item = make_item("scene-[red]-1", host=web)
        for key in ("red", "green", "blue"):
            cog(tmp_path / "files" / "scene-[red]-1" / f"{key}.tif", 3500)
            item["assets"][key]["href"] = f"{web}/scene-%5Bred%5D-1/{key}.tif"
        cog(tmp_path / "files" / "scene-[red]-1" / "scl.tif", 9, "uint8", 20.0)
        item["assets"]["scl"]["href"] = f"{web}/scene-%5Bred%5D-1/scl.tif"
        with stac_server([item], tmp_path) as api:
            own = own_source(tmp_path, api)
            found = CliRunner().invoke(app, ["sources", "check", str(own)])
        assert found.exit_code == 0, found.output
        for part in ("scene-[red]-1", "EPSG:32632", "-0.1 reflectance", "64 x 64 px, 100% valid, 100% cloud", "0.2500"):
            assert part in found.output
        assert any("red.tif" in path for path in requested)
    gone = CliRunner().invoke(app, ["sources", "check", str(own)])
    assert gone.exit_code == 2
    assert "cannot be queried: nothing listens there" in gone.stderr


def test_the_first_usable_item_may_stand_behind_many_that_are_of_no_use(tmp_path: Path) -> None:
    with file_server(tmp_path / "files") as (web, _):
        for key in ("red", "green", "blue", "scl"):
            cog(tmp_path / "files" / "usable" / f"{key}.tif", 9, "uint8" if key == "scl" else "uint16")
        older = [make_item(f"old-{k:03}", host=web, platform="landsat-7") for k in range(130)]
        bare = [make_item(f"pan-{k}", host=web, without="scl") for k in range(9)]
        with stac_server([*older, *bare, make_item("usable", "2024-05-02T00:00:00Z", host=web)], tmp_path) as api:
            own = tmp_path / "own.yaml"
            source = make_source(api, hosts=["127.0.0.1"], where="platform <> 'landsat-7'")
            own.write_text(yaml.safe_dump(source.model_dump(mode="json")))
            found = CliRunner().invoke(app, ["sources", "check", str(own)])
    assert found.exit_code == 0, found.output
    assert "usable" in found.output
    assert found.output.count("asset scl is missing") == 5
    assert "4 items before them left out" in found.output


def test_pixels_that_are_not_there_are_a_sentence(tmp_path: Path) -> None:
    with file_server(tmp_path) as (web, _), stac_server([make_item("scene", host=web)], tmp_path) as api:
        found = CliRunner().invoke(app, ["sources", "check", str(own_source(tmp_path, api))])
    assert found.exit_code == 2
    assert "item scene, asset red" in found.stderr
    assert "404" in found.stderr


def test_a_source_without_endpoint_or_usable_item_says_so(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["sources", "check", "sample-lr"])
    assert found.exit_code == 2
    assert "--endpoint" in found.stderr
    with stac_server([make_item("bare", without="scl")], tmp_path) as api:
        found = CliRunner().invoke(app, ["sources", "check", str(own_source(tmp_path, api))])
    assert found.exit_code == 2
    assert "item bare left out: asset scl is missing" in found.stderr
