"""Scenes or references of a region as one lazy array, for notebooks. The owner of stackstac and xarray here.

stackstac lays items, bands and chunks out; each chunk is read by the exact reader (catalogs/read/scene.py), with all
its checks, since stackstac's own opens whatever an href names, takes one band a file, and turns a 404 into no data.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import shapely
import stackstac
import xarray as xr
from numpy.typing import NDArray

from catalogs.choose.reprocessed import newer_processings
from catalogs.item import SceneItem
from catalogs.masks import VALID
from catalogs.measure.cover_and_fit import item_window
from catalogs.read.scene import read_band, read_mask
from catalogs.search.usable_scenes import search
from catalogs.source import Source, load_source
from dsdit.bands import BANDS
from dsdit.errors import CatalogError, RequestError
from dsdit.grid import Grid
from dsdit.lonlat import within_180
from dsdit.plan.licences import say_years
from dsdit.region import Region
from dsdit.window import Window

RESAMPLING = {"lr": "cubic", "ref": "bilinear"}
"""As staging reads them."""
LOOK_BACK = {"lr": timedelta(days=45), "ref": timedelta(days=3650)}
_MASK = "mask"


def stack_items(
    region: Region,
    source: Source | str,
    start: datetime | None = None,
    end: datetime | None = None,
    chunk_px: int = 512,
) -> xr.DataArray:
    """(time, band, y, x) float32 reflectance of all items of `source` over `region` between two aware times, lazy.

    Of scenes that were processed twice the newer one.

    `end` is now where it is not given, `start` then lies `LOOK_BACK` before it.

    Scenes come on the region's LR grid, references on its HR grid; NaN where the source's mask or the file itself says
    that there is no clear value. x and y are pixel centres. Raises CatalogError where nothing is found, RequestError
    for a CRS without an EPSG code; reading a chunk raises ReadError.
    """
    source = load_source(source) if isinstance(source, str) else source
    end = end or datetime.now(UTC)
    start = start or end - LOOK_BACK[source.role]
    grid, lr = region.grid, source.role == "lr"
    if grid.odc_crs.epsg is None:
        raise RequestError(f"crs {grid.crs[:80]!r} has no EPSG code: a stack needs one")
    window = region.window.coarsen(grid.scale) if lr else region.window
    gsd_m = grid.lr_gsd_m if lr else grid.gsd_m
    footprint = within_180(shapely.geometry.shape(region.lonlat()))
    items = search(source, footprint, start, end).items
    outdated = set(newer_processings(items)[:, 0].tolist())
    items = tuple(item for number, item in enumerate(items) if number not in outdated)
    if not items:
        raise CatalogError(f"nothing of {source.name} over {region.name!r} from {start.date()} to {end.date()}")
    stacked = stackstac.stack(
        [_record(number, item, grid) for number, item in enumerate(items)],
        assets=[*BANDS, _MASK],
        epsg=grid.odc_crs.epsg,
        resolution=gsd_m,
        bounds=grid.bounds_of(window, gsd_m),
        snap_bounds=False,
        chunksize=chunk_px,
        dtype=np.dtype("float32"),
        fill_value=np.float32(np.nan),
        rescale=False,
        xy_coords="center",
        errors_as_nodata=(),
        reader=partial(_Reader, items, source, grid, window),
    )
    bands = stacked.sel(band=list(BANDS))
    clear = stacked.sel(band=_MASK, drop=True) == VALID
    found = bands.where(clear & bands.notnull().all("band")).rename("reflectance")
    said = say_years(source.attribution, {item.when.year for item in items})
    found.attrs = {"crs": grid.crs, "source": source.name, "attribution": said, "licence": source.licence}
    return found


def _record(number: int, item: SceneItem, grid: Grid) -> dict[str, Any]:
    """What stackstac wants to know of an item; its assets are numbers into our own table."""
    bounds = grid.bounds_of(item_window(item, grid).expand(2), grid.lr_gsd_m)
    return {
        "id": item.id,
        "geometry": item.footprint,
        "bbox": list(item.bbox),
        "properties": {
            "datetime": item.when.isoformat(),
            "cloud_cover": item.cloud_cover,
            "proj:epsg": grid.odc_crs.epsg,
            "proj:bbox": list(bounds),
        },
        "assets": {name: {"href": f"{number}/{name}"} for name in (*BANDS, _MASK)},
    }


class _Reader:
    """Reads one band, or the mask, of one item; what stackstac calls a reader."""

    def __init__(
        self, items: tuple[SceneItem, ...], source: Source, grid: Grid, whole: Window, *, url: str, **_: object
    ) -> None:
        number, name = url.split("/")
        self.band = next((band for band in BANDS if band == name), None)
        self.item, self.source, self.grid, self.whole = items[int(number)], source, grid, whole

    def read(self, window: Any, **_: object) -> NDArray[np.float32]:
        """(y, x) of a rasterio window of the stack. Raises ReadError."""
        row, col = self.whole.row0 + round(window.row_off), self.whole.col0 + round(window.col_off)
        place = Window(row, col, row + round(window.height), col + round(window.width))
        lr = self.source.role == "lr"
        geobox = self.grid.lr_geobox(place) if lr else self.grid.hr_geobox(place)
        if self.band is None:
            return read_mask(self.item, self.source, geobox).astype(np.float32)
        return read_band(self.item, self.source, self.band, geobox, RESAMPLING[self.source.role])

    def close(self) -> None:
        """Nothing is kept open."""
