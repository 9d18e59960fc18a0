"""A catalog of one scene and one reference where rows and columns of EPSG:3857 change their sign.

The land is a sum of waves with a fixed phase, so that nothing has to be drawn: smooth shades, stripes near the LR
resolution and stripes above it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform, transform_geom
from shapely.geometry import box, mapping

LR_CRS = "EPSG:32631"
"""The scene is warped; the reference is in the region's CRS, off its lattice."""
REF_CRS = "EPSG:3857"
SIDE_M = 700.0
"""Both files reach so far from the origin, on either side, by default."""

LR_SOURCE = """\
name: equator-lr
role: lr
collection: equator-lr
bands: {red: {asset: image, index: 1}, green: {asset: image, index: 2}, blue: {asset: image, index: 3}}
rule: {kind: fixed, scale: 0.0001, offset: -0.1}
mask: {kind: none}
nodata: 0
gsd_m: 10
licence: CC0-1.0
attribution: Made by the tests
derivatives: "yes"
"""
REF_SOURCE = """\
name: equator-ref
role: ref
collection: equator-ref
bands: {red: {asset: image, index: 1}, green: {asset: image, index: 2}, blue: {asset: image, index: 3}}
rule: {kind: display}
mask: {kind: none}
nodata: 0
gsd_m: 1.25
licence: CC0-1.0
attribution: Made by the tests
derivatives: "yes"
"""


def reflectance(x: NDArray, y: NDArray) -> NDArray[np.float64]:
    """(3, ...) of places in metres from the origin."""
    smooth = np.sin(x / 61.0 + 0.4) * np.cos(y / 83.0)
    middle = np.sin((x + 2 * y) / 9.0) + np.sin((y - x / 3) / 6.0 + 1.0)
    fine = np.sign(np.sin(x / 1.9 + y / 7.3))
    return np.stack([0.16 + 0.05 * smooth + 0.02 * (1 + k / 4) * middle + 0.012 * fine for k in range(3)])


def make_equator(folder: Path, side_m: float = SIDE_M) -> Path:
    """Writes `items.json`, both images and both sources below `folder`; returns the folder."""
    folder.mkdir(parents=True)
    (folder / "equator-lr.yaml").write_text(LR_SOURCE)
    (folder / "equator-ref.yaml").write_text(REF_SOURCE)
    (x0,), (y0,) = transform("EPSG:4326", LR_CRS, [0.0], [0.0])
    features = []
    for kind, crs, gsd, east, north, when in (
        ("equator-lr", LR_CRS, 10.0, round(x0, -1), round(y0, -1), "2024-07-06T10:20:21Z"),
        ("equator-ref", REF_CRS, 1.25, 0.4, 0.7, "2023-05-02T11:00:00Z"),
    ):
        n = int(2 * side_m / gsd)
        grid = Affine(gsd, 0, east - side_m, 0, -gsd, north + side_m)
        centres = (np.arange(n) + 0.5) * gsd - side_m
        x, y = np.meshgrid(centres, -centres)
        land = reflectance(x, y)
        if kind == "equator-lr":
            dn = np.rint((land + 0.1) * 10_000).astype(np.uint16)
            dn[:, 67:71, 66:70] = 0
        else:
            dn = np.clip(np.rint(land / 0.4 * 255), 1, 255).astype(np.uint8)
        _write(folder / f"{kind}.tif", dn, crs, grid)
        outline = mapping(box(grid.c, grid.f - 2 * side_m, grid.c + 2 * side_m, grid.f))
        features.append(_item(kind, crs, outline, when))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return folder


def _write(path: Path, dn: NDArray, crs: str, grid: Affine) -> None:
    profile = {"driver": "COG", "count": 3, "dtype": dn.dtype.name, "crs": crs, "transform": grid, "nodata": 0}
    with rasterio.open(
        path, "w", height=dn.shape[1], width=dn.shape[2], compress="DEFLATE", blocksize=256, **profile
    ) as file:
        file.write(dn)


def _item(kind: str, crs: str, outline: dict[str, Any], when: str) -> dict[str, Any]:
    geometry = transform_geom(crs, "EPSG:4326", outline)
    points = np.array(geometry["coordinates"][0])
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": f"{kind}-1",
        "collection": kind,
        "geometry": geometry,
        "bbox": [*points.min(0).tolist(), *points.max(0).tolist()],
        "properties": {"datetime": when, "proj:code": crs},
        "links": [],
        "assets": {"image": {"href": f"./{kind}.tif", "roles": ["data"]}},
    }


def equator_record(
    folder: Path, weights: Path, output: Path, bounds: tuple[float, float, float, float], **more: Any
) -> dict[str, Any]:
    """A request over the catalog in `folder`; `bounds` are west, south, east, north in EPSG:3857."""
    record: dict[str, Any] = {
        "name": "equator",
        "bounds": list(bounds),
        "crs": "EPSG:3857",
        "gsd_m": 1.25,
        "scale": 8,
        "period": {"start": "2024-06-15", "end": "2024-07-15"},
        "lr": {"source": str(folder / "equator-lr.yaml"), "endpoint": str(folder / "items.json")},
        "ref": {"source": str(folder / "equator-ref.yaml"), "endpoint": str(folder / "items.json")},
        "output": str(output),
        "model": {"weights": str(weights)},
        "sampling": {"steps": 2, "batch": 3},
        "tiling": {"chunk_strides": 3, "shard_chunks": 1},
    }
    return {**record, **more}
