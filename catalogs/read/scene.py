"""Reading the pixels of an item onto a GeoBox: checked (opening.py), exact (warp.py), never silent.

A pixel outside the file, or excluded by its nodata value or mask, is invalid; any other failure is a `ReadError` that
names item, asset and cause. The files of an item are read side by side.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from catalogs.calibration import check_dtype
from catalogs.item import SceneItem
from catalogs.read.opening import gdal_env, with_file
from catalogs.read.warp import Gathered, gather, lay
from catalogs.source import Source
from dsdit.bands import BANDS

Move = tuple[float, float]
"""Translation that corrects an image's position: (right, up) in units of the GeoBox's CRS."""
STILL: Move = (0.0, 0.0)
READING_THREADS = 8
"""Files that a process reads at once."""


class _Planes(NamedTuple):
    """Bands of one file that are read together."""

    asset: str
    indexes: tuple[int, ...]
    resampling: Resampling
    nodata: float | None
    """dn without data; None: as the file states it."""


def read_scene(
    item: SceneItem,
    source: Source,
    geobox: GeoBox,
    resampling: str,
    move_m: Move = STILL,
    bands: Sequence[str] = BANDS,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8]]:
    """What `read_bands` and `read_mask` give, in one go: (reflectance, valid, mask). Raises ReadError."""
    files = _files(source, Resampling[resampling], bands)
    *planes, mask = _read(item, source, [*files, _mask_file(source)], geobox, move_m)
    return (*_reflectance(item, source, files, planes, bands), source.mask.classify(mask[0]))


def read_bands(
    item: SceneItem,
    source: Source,
    geobox: GeoBox,
    resampling: str,
    move_m: Move = STILL,
    bands: Sequence[str] = BANDS,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(reflectance (band, y, x), valid (y, x)) of `item` on `geobox`; reflectance is NaN where it is not valid.

    `resampling` is a name of rasterio's (nearest, bilinear, cubic, average); the image is moved by `move_m`.
    Raises ReadError.
    """
    files = _files(source, Resampling[resampling], bands)
    return _reflectance(item, source, files, _read(item, source, files, geobox, move_m), bands)


def read_band(item: SceneItem, source: Source, name: str, geobox: GeoBox, resampling: str) -> NDArray[np.float32]:
    """(y, x) reflectance of one band, as in `read_bands` but for pixels that only other bands take away."""
    band, k = source.bands[name], source.band_names.index(name)
    planes = _Planes(band.asset, (band.index,), Resampling[resampling], source.nodata)
    ((plane,),) = _read(item, source, [planes], geobox)
    found: NDArray[np.float32] = plane * np.float32(item.scale[k]) + np.float32(item.offset[k])
    return found


def read_mask(item: SceneItem, source: Source, geobox: GeoBox, move_m: Move = STILL) -> NDArray[np.uint8]:
    """(y, x) classes of catalogs/masks.py of `item` on `geobox`, by the nearest pixel, moved as its bands are.

    Raises ReadError.
    """
    ((values,),) = _read(item, source, [_mask_file(source)], geobox, move_m)
    return source.mask.classify(values)


def native_geobox(item: SceneItem, source: Source, side_px: int) -> GeoBox:
    """At most `side_px` pixels a side in the middle of the item's first band, on its own grid. Raises ReadError."""

    def middle(file: rasterio.DatasetReader) -> GeoBox:
        height, width = min(side_px, file.height), min(side_px, file.width)
        row, col = (file.height - height) // 2, (file.width - width) // 2
        return GeoBox((height, width), file.transform @ Affine.translation(col, row), file.crs.to_wkt())

    return with_file(item, source, source.bands[BANDS[0]].asset, middle)


def _files(source: Source, resampling: Resampling, bands: Sequence[str]) -> list[_Planes]:
    """The files that hold the bands, each once."""
    places = [source.bands[name] for name in bands]
    assets = dict.fromkeys(band.asset for band in places)
    return [
        _Planes(asset, tuple(band.index for band in places if band.asset == asset), resampling, source.nodata)
        for asset in assets
    ]


def _mask_file(source: Source) -> _Planes:
    """The mask's file, or without one the band whose nodata serves as the mask. A mask's own nodata is its file's."""
    if source.mask.assets:
        return _Planes(source.mask.assets[0], (1,), Resampling.nearest, None)
    band = source.bands[BANDS[0]]
    return _Planes(band.asset, (band.index,), Resampling.nearest, source.nodata)


def _reflectance(
    item: SceneItem, source: Source, files: list[_Planes], planes: list[NDArray[np.float32]], bands: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(reflectance (band, y, x), valid (y, x)) of the dn of each file."""
    out = np.empty((len(bands), *planes[0].shape[1:]), np.float32)
    for file, values in zip(files, planes, strict=True):
        mine = [name for name in bands if source.bands[name].asset == file.asset]
        for name, plane in zip(mine, values, strict=True):
            k = source.band_names.index(name)
            out[bands.index(name)] = plane * np.float32(item.scale[k]) + np.float32(item.offset[k])
    valid = np.logical_and.reduce(np.isfinite(out), axis=0)
    out[:, ~valid] = np.nan
    return out, valid


def _read(
    item: SceneItem, source: Source, files: Sequence[_Planes], geobox: GeoBox, move_m: Move = STILL
) -> list[NDArray[np.float32]]:
    """(len(indexes), y, x) dn of each file as float32, NaN where there is none."""

    def taken(planes: _Planes) -> Gathered:
        def use(file: rasterio.DatasetReader) -> Gathered:
            indexes = list(planes.indexes)
            if max(indexes) > file.count:
                raise ValueError(f"band {max(indexes)} is requested, the file has {file.count}")
            for name, band in source.bands.items():
                if (band.asset, band.index) in ((planes.asset, index) for index in indexes):
                    k = source.band_names.index(name)
                    check_dtype(source.rule, file.dtypes[band.index - 1], item.scale[k], item.offset[k])
            return gather(file, indexes, geobox, planes.resampling, planes.nodata, source.alpha, move_m)

        return with_file(item, source, planes.asset, use)

    if len(files) == 1:
        found = [taken(files[0])]
    else:
        reads = [_pool.submit(taken, planes) for planes in files]
        wait(reads)
        found = [read.result() for read in reads]
    with gdal_env(source):
        return lay(found, files[0].resampling)


def _new_pool() -> None:
    """A forked process has none of its parent's threads."""
    global _pool
    _pool = ThreadPoolExecutor(READING_THREADS, thread_name_prefix="read")


_pool: ThreadPoolExecutor
_new_pool()
os.register_at_fork(after_in_child=_new_pool)
