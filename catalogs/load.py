"""Reading the pixels of an item onto a GeoBox: checked, exact (catalogs/warp.py) and never silent.

A pixel outside the file, or that its nodata value or mask takes away, is invalid; anything else that goes wrong is a
`ReadError` that names item, asset and cause. Hrefs are checked once more, URLs signed just before they are opened and
kept nowhere. GDAL's settings stand here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError, RasterioIOError, WindowError

from catalogs.item import SceneItem
from catalogs.redirects import check_redirects
from catalogs.rules import BitMask, SclMask
from catalogs.source import Source
from catalogs.trust import accepted_href, local_path, plain
from catalogs.warp import read_on
from dsdit.bands import BANDS, BandName
from dsdit.errors import CatalogError, ReadError

VALID, NO_DATA, CLOUD = 0, 1, 2
"""Values of `read_mask`."""
Move = tuple[float, float]
"""How far a picture is moved to lie where it belongs: (right, up) in units of the GeoBox's CRS."""
STILL: Move = (0.0, 0.0)
MAX_SIDE_PX = 400_000
"""Side of the largest file that is believed."""
MAX_BLOCK_PX = 2**26
"""Pixels of the largest block of a file that is believed: GDAL must hold one."""
GDAL_SETTINGS: dict[str, Any] = {
    "GDAL_CACHEMAX": 256 * 2**20,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_NUM_THREADS": "1",
    "GDAL_PAM_ENABLED": "NO",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": "5000000",
}
"""GDAL's settings for every read of this package."""


def read_bands(
    item: SceneItem, source: Source, geobox: GeoBox, resampling: str, move_m: Move = STILL
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(reflectance (3, y, x), valid (y, x)) of `item` on `geobox`; reflectance is NaN where it is not valid.

    `resampling` is a name of rasterio's (nearest, bilinear, cubic, average); the picture is moved by `move_m`. Files
    are read side by side, one thread each. Raises ReadError.
    """
    out = np.full((len(BANDS), *geobox.shape), np.nan, np.float32)
    bands = [source.bands[name] for name in BANDS]
    assets = list(dict.fromkeys(band.asset for band in bands))
    rows = [[k for k, band in enumerate(bands) if band.asset == asset] for asset in assets]

    def read(asset: str, mine: list[int]) -> NDArray[np.float32]:
        return _read(item, source, asset, [bands[k].index for k in mine], geobox, Resampling[resampling], move_m)

    with ThreadPoolExecutor(len(assets)) as pool:
        found = list(pool.map(read, assets, rows))
    for mine, values in zip(rows, found, strict=True):
        for k, plane in zip(mine, values, strict=True):
            out[k] = plane * np.float32(item.scale[k]) + np.float32(item.offset[k])
    valid = np.logical_and.reduce(np.isfinite(out), axis=0)
    out[:, ~valid] = np.nan
    return out, valid


def read_band(item: SceneItem, source: Source, name: BandName, geobox: GeoBox, resampling: str) -> NDArray[np.float32]:
    """(y, x) reflectance of one band, as in `read_bands` but for pixels that only other bands take away."""
    band, k = source.bands[name], BANDS.index(name)
    (plane,) = _read(item, source, band.asset, [band.index], geobox, Resampling[resampling])
    return plane * np.float32(item.scale[k]) + np.float32(item.offset[k])


def read_mask(item: SceneItem, source: Source, geobox: GeoBox, move_m: Move = STILL) -> NDArray[np.uint8]:
    """(y, x) `VALID`, `NO_DATA` or `CLOUD` of `item` on `geobox`, by the nearest pixel, moved as its bands are.

    Raises ReadError.
    """
    mask = source.mask
    out = np.full(geobox.shape, NO_DATA, np.uint8)
    if isinstance(mask, SclMask):
        (classes,) = _read(item, source, mask.asset, [1], geobox, Resampling.nearest, move_m)
        seen = np.isfinite(classes) & ~np.isin(classes, mask.nodata)
        out[seen] = VALID
        out[seen & np.isin(classes, mask.cloud)] = CLOUD
        return out
    if isinstance(mask, BitMask):
        (flags,) = _read(item, source, mask.asset, [1], geobox, Resampling.nearest, move_m)
        bits = np.nan_to_num(flags, nan=0.0).astype(np.int64)
        seen = np.isfinite(flags) & (bits & _bits(mask.nodata) == 0)
        out[seen] = VALID
        out[seen & (bits & _bits(mask.cloud) != 0)] = CLOUD
        return out
    band = source.bands[BANDS[0]]
    (values,) = _read(item, source, band.asset, [band.index], geobox, Resampling.nearest, move_m)
    out[np.isfinite(values)] = VALID
    return out


def native_geobox(item: SceneItem, source: Source, side_px: int) -> GeoBox:
    """At most `side_px` pixels a side in the middle of the item's first band, on its own grid. Raises ReadError."""
    asset = source.bands[BANDS[0]].asset
    with _errors(item, asset), rasterio.Env(**_settings(source)), _open(_location(item, source, asset), source) as file:
        _check(file, [1])
        height, width = min(side_px, file.height), min(side_px, file.width)
        row, col = (file.height - height) // 2, (file.width - width) // 2
        return GeoBox((height, width), file.transform @ Affine.translation(col, row), file.crs.to_wkt())


def _bits(numbers: tuple[int, ...]) -> int:
    return sum(1 << number for number in set(numbers))


def _read(
    item: SceneItem,
    source: Source,
    asset: str,
    indexes: list[int],
    geobox: GeoBox,
    resampling: Resampling,
    move_m: Move = STILL,
) -> NDArray[np.float32]:
    """(len(indexes), y, x) dn as float32, NaN where there is none."""
    with _errors(item, asset), rasterio.Env(**_settings(source)), _open(_location(item, source, asset), source) as file:
        _check(file, indexes)
        return read_on(file, indexes, geobox, resampling, source.nodata, source.alpha, move_m)


@contextmanager
def _errors(item: SceneItem, asset: str) -> Iterator[None]:
    """Turns what goes wrong into a ReadError that names item, asset and cause."""
    try:
        yield
    except (RasterioError, CRSError, WindowError, CatalogError, OSError, ValueError) as error:
        raise ReadError(f"item {plain(item.id, 120)}, asset {plain(asset, 60)}: {plain(_cause(error))}") from error


def _cause(error: BaseException) -> str:
    inner = error.__cause__ or error.__context__
    text = str(error) or type(error).__name__
    return f"{text} ({inner})" if inner is not None and str(inner) and str(inner) not in text else text


def _settings(source: Source) -> dict[str, Any]:
    settings = dict(GDAL_SETTINGS)
    if source.requester_pays:
        settings["AWS_REQUEST_PAYER"] = "requester"
    elif "s3" in source.schemes and source.signing != "aws":
        settings["AWS_NO_SIGN_REQUEST"] = "YES"
    return settings


def _location(item: SceneItem, source: Source, asset: str) -> str:
    """The file of an asset, checked once more; a URL is signed here, just before it is read, and kept nowhere."""
    if asset not in item.hrefs:
        raise ReadError(f"item {plain(item.id, 120)} has no asset {plain(asset, 60)}")
    href = accepted_href(item.hrefs[asset], source)
    if "://" not in href:
        return str(local_path(href, source.root))
    if source.signing == "planetary-computer":
        import planetary_computer

        href = str(planetary_computer.sign_url(href))
    check_redirects(href, source)
    return href


@contextmanager
def _open(place: str, source: Source) -> Iterator[rasterio.DatasetReader]:
    """The file, if one of the source's drivers knows it: what calls itself .tif and is a VRT is not opened."""
    drivers = list(dict.fromkeys("GTiff" if name == "COG" else name for name in source.drivers))
    for number, driver in enumerate(drivers):
        try:
            file = rasterio.open(place, driver=driver)
        except RasterioIOError:
            if number + 1 == len(drivers):
                raise
        else:
            break
    with file:
        yield file


def _check(file: rasterio.DatasetReader, indexes: list[int]) -> None:
    if max(file.width, file.height) > MAX_SIDE_PX:
        raise ValueError(f"{file.width} x {file.height} px is more than is believed of one file ({MAX_SIDE_PX})")
    if max(height * width for height, width in file.block_shapes) > MAX_BLOCK_PX:
        raise ValueError(f"blocks of {file.block_shapes[0]} px are more than is believed of one file")
    if file.crs is None:
        raise ValueError("the file states no CRS")
    if max(indexes) > file.count:
        raise ValueError(f"band {max(indexes)} is asked for, the file has {file.count}")
