"""Synthetic sample region: land drawn from a seed, satellite scenes of it, earlier references, and their catalog.

It needs no network and no licence, and its truth is known: `make run` shows the whole system on it, and tests measure
with it. The files have what real catalogs have: two UTM zones, clouds and their shadows, a swath edge, places
without a reference, and land that has changed since the reference was taken.

In `folder`: `catalog.json` (static STAC; collections `sample-lr` and `sample-ref`), `items.json` (the same items at
once), `region.geojson` (footprint, CRS, GSD) and `truth/hr.tif`, which no catalog names.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from catalogs.sample_region.flights import DATES, flights
from catalogs.sample_region.frame import Frame
from catalogs.sample_region.landscape import draw_landscape
from catalogs.sample_region.painting import Painter
from catalogs.sample_region.scenes import TRUTH, lr_scenes
from catalogs.sample_region.writing import write_catalog, write_flight, write_lr, write_region, write_truth
from dsdit.errors import StoreError

__all__ = ["make_sample_region"]


def make_sample_region(
    folder: Path,
    *,
    seed: int = 7,
    size_m: tuple[float, float] = (2000.0, 2000.0),
    margin_m: float = 1000.0,
    bright_points: Sequence[tuple[float, float]] = (),
) -> Path:
    """Draws the region and writes its catalog; returns the path of `catalog.json`.

    `size_m` is the region's (y, x) extent, multiples of 10 m; `margin_m` is how far land and
    scenes reach beyond it. `bright_points` (x, y in EPSG:32632) become bright targets of 3 x 3 HR pixels in truth and
    references alike. One seed and size give the same pixels. The folder appears whole, or not at all; an earlier
    sample region in its place is replaced. Raises RequestError for a size that cannot be had, StoreError where
    `folder` holds something else.
    """
    folder = Path(folder)
    frame = Frame.of(size_m, margin_m)
    if folder.exists() and not (folder / "region.geojson").exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is there and is no sample region: choose another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
        fresh = Path(work) / "fresh"
        fresh.mkdir()
        _draw(fresh, frame, seed, bright_points)
        if folder.exists():
            folder.rename(Path(work) / "old")
        shutil.move(fresh, folder)
    return folder / "catalog.json"


def _draw(folder: Path, frame: Frame, seed: int, bright_points: Sequence[tuple[float, float]]) -> None:
    landscape = draw_landscape(frame.landscape_m, frame.inner, np.random.Generator(np.random.Philox(key=[seed, 0])))
    for x, y in bright_points:
        east, south = frame.to_landscape(x, y)
        landscape.bright_points.append((float(east), float(south)))
    painter = Painter(landscape, seed)
    truth = painter.paint(TRUTH)
    write_truth(folder, truth, frame)
    lr = [write_lr(folder, scene) for scene in lr_scenes(truth, frame, seed)]
    del truth
    ref = []
    for date in DATES:
        painted = painter.paint(date.moment)
        ref += [write_flight(folder, flight, frame) for flight in flights(date, painted, frame)]
    write_catalog(folder, lr, ref)
    write_region(folder, frame, seed)
