"""Scenes or references of a region as one lazy array, for notebooks; this file owns stackstac and xarray here.

stackstac lays out items, bands and chunks; each chunk is read by the exact reader (catalogs/read/scene.py), with all
its checks, since stackstac's own reader opens whatever an href names, takes one band a file, and turns a 404 into no
data.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
import stackstac
from numpy.typing import NDArray

from catalogs.choose.reprocessed import newer_processings
from catalogs.item import SceneItem
from catalogs.masks import VALID
from catalogs.measure.cover_and_fit import item_window
from catalogs.read.scene import read_band, read_mask
from catalogs.search.usable_scenes import search_items
from catalogs.source import Source, load_source
from dsdit.bands import BANDS
from dsdit.errors import CatalogError, RequestError
from dsdit.grid import Grid
from dsdit.lonlat import within_180
from dsdit.plan.licences import fill_years
from dsdit.region import Region
from dsdit.window import Window

if TYPE_CHECKING:
    import xarray as xr

RESAMPLING = {"lr": "cubic", "ref": "bilinear"}
"""The same as in staging."""
LOOK_BACK = {"lr": timedelta(days=45), "ref": timedelta(days=3650)}
"""Length of the period where no start is given, by role of the source."""
_MASK = "mask"
_TIME_ENCODING = {"units": "seconds since 1970-01-01", "dtype": "float64"}
"""netCDF-3 has no 64-bit integers, and xarray decodes parts of a second from floats inexactly."""


def stack(
    region: Region,
    source: Source | str,
    start: datetime | None = None,
    end: datetime | None = None,
    chunk_px: int = 512,
) -> xr.DataArray:
    """(time, band, y, x) float32 reflectance of all items of `source` over `region` from `start` to `end`, lazy.

    Times without a zone are UTC. `end` is now where it is not given, `start` then is `LOOK_BACK` before it: 45 days for
    scenes, ten years for references. Of scenes that were processed twice only the newer one is taken.

    Scenes are on the region's LR grid, references on its HR grid; NaN where the source's mask or the file itself has no
    clear value. x and y are pixel centres, time is in whole seconds; `id` and `cloud_cover` (percent, NaN where
    unknown) are coordinates of time. The result can be saved with `to_zarr` and `to_netcdf`.

    Raises CatalogError where nothing is found, RequestError for a CRS without an EPSG code; reading a chunk raises
    ReadError.
    """
    source = load_source(source) if isinstance(source, str) else source
    end = datetime.now(UTC) if end is None else _aware(end)
    start = end - LOOK_BACK[source.role] if start is None else _aware(start)
    grid, lr = region.grid, source.role == "lr"
    epsg = grid.odc_crs.epsg
    if epsg is None:
        raise RequestError(f"crs {grid.crs[:80]!r} has no EPSG code: a stack needs one")
    window = region.window.coarsen(grid.scale) if lr else region.window
    gsd_m = grid.lr_gsd_m if lr else grid.gsd_m
    items = _items(region, source, start, end)
    stacked = stackstac.stack(
        [_record(number, item, grid) for number, item in enumerate(items)],
        assets=[*BANDS, _MASK],
        epsg=epsg,
        resolution=gsd_m,
        bounds=grid.bounds_of(window, gsd_m),
        snap_bounds=False,
        chunksize=chunk_px,
        dtype=np.dtype("float32"),
        fill_value=np.float32(np.nan),
        rescale=False,
        sortby_date=False,
        xy_coords="center",
        properties=False,
        band_coords=False,
        errors_as_nodata=(),
        reader=partial(_Reader, items, source, grid, window),
    )
    bands = stacked.sel(band=list(BANDS))
    clear = stacked.sel(band=_MASK, drop=True) == VALID
    found: xr.DataArray = bands.where(clear & bands.notnull().all("band")).rename("reflectance")
    return _described(found, items, source, grid, epsg)


def _aware(when: datetime) -> datetime:
    """The time with its zone, UTC where it has none."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def _items(region: Region, source: Source, start: datetime, end: datetime) -> tuple[SceneItem, ...]:
    """Items to stack, oldest first, ties by id. Raises CatalogError where there is none."""
    footprint = within_180(shapely.geometry.shape(region.lonlat()))
    found = search_items(source, footprint, start, end).items
    outdated = set(newer_processings(found)[:, 0].tolist())
    items = [item for number, item in enumerate(found) if number not in outdated]
    if not items:
        raise CatalogError(f"nothing of {source.name} over {region.name!r} from {start.date()} to {end.date()}")
    return tuple(sorted(items, key=lambda item: (item.when, item.id, item.digest)))


def _described(
    stacked: xr.DataArray, items: tuple[SceneItem, ...], source: Source, grid: Grid, epsg: int
) -> xr.DataArray:
    """The stack with coordinates and attributes of plain types, which every file format can hold."""
    clouds = [np.nan if item.cloud_cover is None else item.cloud_cover for item in items]
    found = stacked.drop_vars(set(stacked.coords) - set(stacked.dims)).assign_coords(
        time=stacked["time"].values.astype("datetime64[s]").astype("datetime64[ns]"),
        id=("time", [item.id for item in items]),
        cloud_cover=("time", np.array(clouds, np.float64)),
        epsg=epsg,
    )
    found["time"].encoding = dict(_TIME_ENCODING)
    attribution = fill_years(source.attribution, {item.when.year for item in items})
    found.attrs = {"crs": grid.crs, "source": source.name, "attribution": attribution, "licence": source.licence}
    return found


def _record(number: int, item: SceneItem, grid: Grid) -> dict[str, Any]:
    """What stackstac needs of an item; its assets are numbers into our own table."""
    bounds = grid.bounds_of(item_window(item, grid).expand(2), grid.lr_gsd_m)
    return {
        "id": item.id,
        "geometry": item.footprint,
        "bbox": list(item.bbox),
        "properties": {
            "datetime": item.when.isoformat(),
            "proj:epsg": grid.odc_crs.epsg,
            "proj:bbox": list(bounds),
        },
        "assets": {name: {"href": f"{number}/{name}"} for name in (*BANDS, _MASK)},
    }


class _Reader:
    """Reads one band, or the mask, of one item; the interface is stackstac's."""

    def __init__(
        self, items: tuple[SceneItem, ...], source: Source, grid: Grid, whole: Window, *, url: str, **_: object
    ) -> None:
        number, name = url.split("/")
        self.band = next((band for band in BANDS if band == name), None)
        self.item, self.source, self.grid, self.whole = items[int(number)], source, grid, whole

    def read(self, window: Any, **_: object) -> NDArray[np.float32]:
        """(y, x) of a rasterio window of the stack. Raises ReadError."""
        row, col = self.whole.row0 + round(window.row_off), self.whole.col0 + round(window.col_off)
        pixels = Window(row, col, row + round(window.height), col + round(window.width))
        lr = self.source.role == "lr"
        geobox = self.grid.lr_geobox(pixels) if lr else self.grid.hr_geobox(pixels)
        if self.band is None:
            return read_mask(self.item, self.source, geobox).astype(np.float32)
        return read_band(self.item, self.source, self.band, geobox, RESAMPLING[self.source.role])

    def close(self) -> None:
        """Nothing stays open."""
