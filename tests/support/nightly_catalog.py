"""A catalog that gets new scenes between runs, over a strip of land in two cells.

Rows and columns of EPSG:3857 change their sign in it, and cells of 2560 m meet there: a scene north of the origin does
not affect shards that are far enough south of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform_geom
from shapely.geometry import box, mapping

from tests.support.equator import LR_SOURCE, REF_CRS, REF_SOURCE, equator_record, reflectance

STRIP = (22.0, -1130.0, 96.0, 60.0)
"""Five shards of 360 m, one below the other; the two in the south do not use the northern cell."""
NORTH = (-1400.0, 0.0, 1400.0, 1400.0)
WHOLE = (-1400.0, -1400.0, 1400.0, 1400.0)
CLEAR, CLOUD = 4, 9


def make_nightly_catalog(folder: Path, whole: tuple[float, ...] = WHOLE) -> Path:
    """Both sources, one scene and one reference over `whole`; returns the folder."""
    folder.mkdir(parents=True)
    source = LR_SOURCE.replace("mask: {kind: none}", "mask: {kind: scl, asset: scl}")
    (folder / "equator-lr.yaml").write_text(source)
    (folder / "equator-ref.yaml").write_text(REF_SOURCE)
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    add_scene(folder, "first", "2024-07-06T10:20:21Z", whole)
    _add(folder, "reference", "equator-ref", "2023-05-02T11:00:00Z", whole, 1.25, 1.0, None)
    return folder


def add_scene(
    folder: Path, name: str, when: str, bounds: tuple[float, ...] = WHOLE, gain: float = 1.0, scl: int = CLEAR
) -> None:
    """A scene of `gain` times the land's reflectance, of one class all over."""
    _add(folder, name, "equator-lr", when, bounds, 10.0, gain, scl)


def _add(
    folder: Path,
    name: str,
    kind: str,
    when: str,
    bounds: tuple[float, ...],
    gsd: float,
    gain: float,
    scl: int | None,
) -> None:
    west, south, east, north = bounds
    grid = Affine(gsd, 0, west, 0, -gsd, north)
    x = np.arange(west, east, gsd) + gsd / 2
    y = np.arange(north, south, -gsd) - gsd / 2
    land = gain * reflectance(*np.meshgrid(x, y))
    assets = {"image": {"href": f"./{name}.tif", "roles": ["data"]}}
    if scl is None:
        _write(folder / f"{name}.tif", np.clip(np.rint(land / 0.4 * 255), 1, 255).astype(np.uint8), grid)
    else:
        _write(folder / f"{name}.tif", np.rint((land + 0.1) * 10_000).astype(np.uint16), grid)
        _write(folder / f"{name}-scl.tif", np.full((1, *land.shape[1:]), scl, np.uint8), grid)
        assets["scl"] = {"href": f"./{name}-scl.tif", "roles": ["data"]}
    outline = transform_geom(REF_CRS, "EPSG:4326", mapping(box(*bounds)))
    points = np.array(outline["coordinates"][0])
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": kind,
        "geometry": outline,
        "bbox": [*points.min(0).tolist(), *points.max(0).tolist()],
        "properties": {"datetime": when, "proj:code": REF_CRS},
        "links": [],
        "assets": assets,
    }
    known = json.loads((folder / "items.json").read_text())
    known["features"].append(item)
    (folder / "items.json").write_text(json.dumps(known))


def _write(path: Path, dn: NDArray, grid: Affine) -> None:
    profile = {"driver": "COG", "count": len(dn), "dtype": dn.dtype.name, "crs": REF_CRS, "transform": grid}
    size = {"height": dn.shape[1], "width": dn.shape[2], "nodata": 0, "compress": "DEFLATE", "blocksize": 256}
    with rasterio.open(path, "w", **profile, **size) as file:
        file.write(dn)


def nightly_record(folder: Path, weights: Path, output: Path, **more: Any) -> dict[str, Any]:
    """A request over the strip; one step and a small batch, so that a run takes seconds."""
    small = {"sampling": {"steps": 1, "batch": 2}, "tiling": {"chunk_strides": 3, "shard_chunks": 1}}
    return equator_record(folder, weights, output, STRIP, **{**small, **more})
