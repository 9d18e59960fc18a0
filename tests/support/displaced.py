"""The small sample region with a reference of one's own: its truth or another land, beside its place on purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

GSD_M = 1.25
MAXIMUM = 0.4
"""Reflectance of dn 255."""


def truth(catalog: Path) -> tuple[NDArray[np.float32], Affine]:
    """(3, y, x) reflectance of the whole landscape, and its transform."""
    with rasterio.open(catalog / "truth" / "hr.tif") as file:
        return file.read().astype(np.float32) * np.float32(1e-4), file.transform


def displaced(catalog: Path, folder: Path, dy_px: float, dx_px: float, picture: NDArray | None = None) -> Path:
    """A catalog with one reference, the truth (or `picture`), shifted (dy, dx) HR pixels down and to the right."""
    values, transform = truth(catalog)
    values = values if picture is None else picture
    shutil.copytree(catalog, folder)
    record = json.loads((catalog / "items.json").read_text())
    scenes = [item for item in record["features"] if item["collection"] == "sample-lr"]
    reference = next(item for item in record["features"] if item["collection"] == "sample-ref")
    reference["id"] = "ref-displaced"
    reference["geometry"], reference["bbox"] = scenes[0]["geometry"], scenes[0]["bbox"]
    reference["assets"]["image"] = {**reference["assets"]["image"], "href": "./displaced.tif"}
    for key in ("proj:shape", "proj:transform"):
        reference["assets"]["image"].pop(key, None)
    dn = np.clip(np.rint(values / MAXIMUM * 255), 1, 255).astype(np.uint8)
    moved = Affine.translation(dx_px * GSD_M, -dy_px * GSD_M) @ transform
    size = {"count": 3, "height": dn.shape[1], "width": dn.shape[2], "crs": "EPSG:32632", "transform": moved}
    with rasterio.open(
        folder / "displaced.tif", "w", driver="COG", dtype="uint8", nodata=0, blocksize=256, **size
    ) as f:
        f.write(dn)
    (folder / "items.json").write_text(json.dumps({**record, "features": [*scenes, reference]}))
    return folder
