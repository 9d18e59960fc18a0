"""One Cloud-Optimised GeoTIFF of the mosaic at full resolution, or of a window of it, for GDAL tools.

A COG is one object, written as a whole. It is made for regions up to a size; for larger ones a window is cut on demand.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import rasterio
import rasterio.shutil
from rasterio.windows import Window as RasterWindow

from dsdit.bands import BANDS
from dsdit.errors import RequestError
from dsdit.imaging.radiometry import SR_ADD_OFFSET, SR_FILL, SR_SCALE_FACTOR
from dsdit.mosaic.template import level_url, mosaic_window
from dsdit.plan.licences import attributions
from dsdit.plan.plan import Plan
from dsdit.store.arrays import read_window
from dsdit.store.objects import write_file
from dsdit.window import Window

CogChoice = Literal["auto", "always", "never"]
COG_MAX_PX = 2**31
"""Pixels of the largest region for which `auto` writes a COG: 13 GB before compression."""


def wants_cog(plan: Plan, choice: CogChoice) -> bool:
    """Whether a publish of this plan writes the COG; `auto` writes it up to `COG_MAX_PX`."""
    rows, cols = plan.region.window.shape
    return choice == "always" or (choice == "auto" and rows * cols <= COG_MAX_PX)


def cog_window(plan: Plan, bounds: tuple[float, float, float, float]) -> Window:
    """The region's pixels whose centres are within x0, y0, x1, y1 in CRS units. Raises RequestError for none."""
    grid, whole = plan.region.grid, plan.region.window
    found = grid.centres_in(bounds, grid.gsd_m).intersect(whole)
    if found.empty:
        have = ", ".join(f"{v:g}" for v in grid.bounds_of(whole, grid.gsd_m))
        raise RequestError(
            f"no pixel of region {plan.region.name!r} is within bounds {bounds}: give x0 y0 x1 y1 within "
            f"({have}) in {grid.crs}"
        )
    return found


def write_cog(plan: Plan, mosaic: str, url: str, window: Window | None = None) -> None:
    """A window of level 0, the region's by default, as one COG (uint16, scale and offset tags), block by block."""
    first, place = mosaic_window(plan), window or plan.region.window
    side = plan.lattice.shard_px
    grid = plan.region.grid
    bands = len(plan.bands)
    profile = {
        "driver": "GTiff",
        "count": bands,
        "dtype": "uint16",
        "height": place.shape[0],
        "width": place.shape[1],
        "crs": grid.odc_crs.to_wkt(),
        "transform": grid.hr_geobox(place).transform,
        "nodata": int(SR_FILL),
        "tiled": True,
        "compress": "deflate",
        "photometric": "rgb" if starts_rgb(plan.bands) else "minisblack",
        "alpha": "no",
        "bigtiff": "if_safer",
    }
    with _workspace() as folder:
        plain, packed = folder / "plain.tif", folder / "cog.tif"
        with rasterio.open(plain, "w", **profile) as file:
            for shard in place.coarsen(side).indices():
                part = plan.lattice.shard_window(shard).intersect(place)
                at = RasterWindow(part.col0 - place.col0, part.row0 - place.row0, part.shape[1], part.shape[0])
                file.write(read_window(level_url(mosaic, 0), "sr", first, part), window=at)
            file.scales, file.offsets = (SR_SCALE_FACTOR,) * bands, (SR_ADD_OFFSET,) * bands
            for number, name in enumerate(plan.bands, 1):
                file.set_band_description(number, name)
            credit = "; ".join(attributions(plan))
            tags = {"TIFFTAG_COPYRIGHT": credit} if credit else {}
            file.update_tags(**tags, TIFFTAG_SOFTWARE=f"dsdit {version('dsdit')}")
        rasterio.shutil.copy(plain, packed, driver="COG", compress="deflate", overview_resampling="average")
        write_file(url, packed)


def starts_rgb(bands: tuple[str, ...]) -> bool:
    """Whether the first three bands are what a viewer shows as red, green and blue."""
    return bands[:3] == BANDS


_PREFIX, _LOCK = "dsdit-cog-", "lock"


@contextmanager
def _workspace() -> Iterator[Path]:
    """A temporary folder; those that killed processes left, which may be tens of GB, are removed first."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), lock.open() as file:  # another user's, or one that another process removes
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, (Path(folder) / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Path(folder)
