"""DataArrays of reflectance checked and made arrays: bands, grid, values. Each refusal is one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import odc.geo.xr  # noqa: F401  # registers DataArray.odc
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from dsdit.bands import BANDS
from dsdit.errors import RequestError

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float32]
SCALES = range(4, 17)
"""HR pixels per LR pixel."""
MIN_LR_PX = 8
"""Least side of LR, in its pixels."""
_BRIGHTEST = 2.0
_NUMBERED = (1, 2, 3)
_ALIGNED = 1e-3
"""Part of a pixel by which grids may differ: coordinates are rounded."""


@dataclass(frozen=True)
class Raster:
    """Reflectance on a north-up grid of square pixels."""

    values: Array
    """(3, y, x), red, green, blue; NaN where a band has no value."""
    geobox: GeoBox
    """Its grid."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(y, x): True where all bands have a value."""
        return np.asarray(np.isfinite(self.values).all(0))

    @property
    def pixel(self) -> float:
        """Side of a pixel in units of the CRS."""
        return float(self.geobox.affine.a)


def read_raster(array: xr.DataArray, name: str) -> Raster:
    """`array` (band, y, x), called `name` in sentences. Raises RequestError for what cannot be used."""
    ordered = _with_bands(array, name)
    geobox = _geobox(ordered, name)
    values = np.asarray(ordered.values, np.float32)
    found = values[np.isfinite(values)]
    if found.size and (brightest := float(np.abs(found).max())) > _BRIGHTEST:
        raise RequestError(
            f"{name} has values up to {brightest:g}, which are no reflectance of 0 to 1: divide by 10000? "
            "(and add the product's offset, set nodata to NaN)"
        )
    return Raster(np.where(np.isfinite(values).all(0), values, np.float32(np.nan)), geobox)


def _with_bands(array: xr.DataArray, name: str) -> xr.DataArray:
    """The array with bands in the order of `BANDS`; names may come in any order, numbers are taken as that order."""
    if array.dims != ("band", "y", "x"):
        raise RequestError(f"{name} has dimensions {array.dims}: transpose or rename them to ('band', 'y', 'x')")
    labels = array["band"].values.tolist() if "band" in array.coords else list(_NUMBERED)
    if len(labels) == len(BANDS) and tuple(labels) in (_NUMBERED, tuple(range(len(BANDS)))):
        return array
    if sorted(map(str, labels)) != sorted(BANDS):
        raise RequestError(
            f"{name} has bands {labels}: select {', '.join(BANDS)}, with these names as coordinate `band` or in this "
            "order without one"
        )
    return array.sel(band=list(BANDS))


def _geobox(array: xr.DataArray, name: str) -> GeoBox:
    for axis in ("y", "x"):
        if axis not in array.coords:
            raise RequestError(f"{name} has no coordinate {axis!r}: give the centres of its pixels in CRS units")
        steps = np.diff(np.asarray(array[axis].values, np.float64))
        if not steps.size or np.ptp(steps) > _ALIGNED * np.abs(steps).max():
            raise RequestError(f"{name} has pixels that are not evenly spaced along {axis!r}: resample it to one grid")
    if array.odc.crs is None:
        raise RequestError(f"{name} has no CRS: set it, for example with {name}.rio.write_crs('EPSG:32632')")
    geobox: GeoBox = array.odc.geobox
    affine = geobox.affine
    if affine.a <= 0 or affine.e >= 0:
        raise RequestError(f"{name} is not north-up (pixels of {affine.a:g} x {affine.e:g}): sort y down and x up")
    if abs(affine.a + affine.e) > _ALIGNED * affine.a:
        raise RequestError(f"{name} has pixels of {affine.a:g} x {-affine.e:g} (x, y): resample it to square ones")
    return geobox


def check_lr(lr: Raster) -> None:
    """Raises RequestError where LR is too small."""
    height, width = lr.values.shape[1:]
    if min(height, width) < MIN_LR_PX:
        raise RequestError(f"lr has {height} x {width} pixels (y, x): it needs {MIN_LR_PX} x {MIN_LR_PX} or more")


def scale_of(lr: Raster, ref: Raster | None, scale: int | None) -> int:
    """The ratio of the pixel sizes; without a reference `scale`, or 8. Raises RequestError."""
    if ref is None:
        chosen = 8 if scale is None else scale
        if isinstance(chosen, bool) or chosen not in SCALES:
            raise RequestError(f"scale is {chosen!r}: it must be a whole number from {SCALES[0]} to {SCALES[-1]}")
        return int(chosen)
    if lr.geobox.crs != ref.geobox.crs:
        raise RequestError(
            f"lr is in {_short(lr)} and ref in {_short(ref)}: reproject ref, for example with "
            "ref.odc.reproject(lr.odc.geobox.zoom_out(1 / 8))"
        )
    ratio = lr.pixel / ref.pixel
    found = round(ratio)
    if abs(ratio - found) > _ALIGNED or found not in SCALES:
        raise RequestError(
            f"pixels of lr are {lr.pixel:g} and of ref {ref.pixel:g} wide, a ratio of {ratio:g}: it must be a whole "
            f"number from {SCALES[0]} to {SCALES[-1]}; resample ref, for example to {lr.pixel / 8:g}"
        )
    if scale is not None and scale != found:
        raise RequestError(f"scale is {scale} and the pixels of lr and ref have the ratio {found}: leave scale out")
    return found


def _short(raster: Raster) -> str:
    crs = raster.geobox.crs
    return f"EPSG:{crs.epsg}" if crs is not None and crs.epsg else str(crs)[:60]


def on_lr_grid(ref: Raster, lr: Raster, scale: int) -> Array:
    """`ref` on the HR pixels of `lr`, (3, h * scale, w * scale), NaN outside of it. Raises RequestError."""
    coarse, fine = lr.geobox.affine, ref.geobox.affine
    col, row = (fine.c - coarse.c) / ref.pixel, (coarse.f - fine.f) / ref.pixel
    if max(abs(col - round(col)), abs(row - round(row))) > _ALIGNED * scale:
        raise RequestError(
            f"the grids of lr and ref are not aligned: ref begins {col % 1:.3f} and {row % 1:.3f} of its pixels (x, y) "
            f"off those of lr; resample it, for example with ref.odc.reproject(lr.odc.geobox.zoom_out(1 / {scale}))"
        )
    top, left = round(row), round(col)
    height, width = (n * scale for n in lr.values.shape[1:])
    out = np.full((3, height, width), np.nan, np.float32)
    rows = slice(max(top, 0), min(top + ref.values.shape[1], height))
    cols = slice(max(left, 0), min(left + ref.values.shape[2], width))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        raise RequestError("lr and ref do not overlap: give a reference of the same place, or none")
    out[:, rows, cols] = ref.values[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
    return out
