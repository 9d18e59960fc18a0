"""Reading pixels of an item onto a GeoBox: exact, the same whatever window is asked, and never silent.

The warp's transformer is exact, and the factor by which a kernel widens when it reduces is fixed from the two
pixel sizes: GDAL would guess both anew for each window. A source on the very lattice of the GeoBox is not warped at
all. A pixel outside the file, or that its nodata value or mask takes away, is invalid; anything else that goes wrong is
a `ReadError`. The owner of rasterio's reading and of GDAL's settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import CRSError, RasterioError, RasterioIOError, WindowError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points
from rasterio.windows import Window as RasterWindow

from catalogs.item import SceneItem
from catalogs.source import SclMask, Source
from catalogs.trust import accepted_href, local_path, plain
from dsdit.bands import BANDS
from dsdit.errors import CatalogError, ReadError

VALID, NO_DATA, CLOUD = 0, 1, 2
"""Values of `read_mask`."""
TOLERANCE_PX = 1e-9
"""Error allowed to GDAL's transformer, in pixels of the file. At its own 1/8 a pixel's place depends on the window."""
MAX_SIDE_PX = 400_000
"""Side of the largest file that is believed."""
GDAL_SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_NUM_THREADS": "1",
    "GDAL_PAM_ENABLED": "NO",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": "5000000",
}
"""GDAL's settings for every read of this package."""
_NEAR_ONE = 0.02
_NOTHING = -1e30
"""Where the warp found nothing. Not NaN: beside a band that calls itself alpha (NAIP's fourth) GDAL gives NaN only."""
_ALIGNED_PX = 1e-6


@dataclass(frozen=True)
class _Geometry:
    """How a file lies to a GeoBox."""

    ratio: float
    """Pixel size of the file over that of the GeoBox; under 1 means that pixels are merged."""
    offset: tuple[int, int] | None
    """(row, col) of the GeoBox's first pixel in the file, where both share one lattice."""


def read_bands(
    item: SceneItem, source: Source, geobox: GeoBox, resampling: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(reflectance (3, y, x), valid (y, x)) of `item` on `geobox`; reflectance is NaN where it is not valid.

    `resampling` is a name of rasterio's (nearest, bilinear, cubic, average). Raises ReadError.
    """
    out = np.full((len(BANDS), *geobox.shape), np.nan, np.float32)
    bands = [source.bands[name] for name in BANDS]
    for asset in dict.fromkeys(band.asset for band in bands):
        rows = [k for k, band in enumerate(bands) if band.asset == asset]
        values = _read(item, source, asset, [bands[k].index for k in rows], geobox, Resampling[resampling])
        for k, plane in zip(rows, values, strict=True):
            out[k] = plane * np.float32(item.scale[k]) + np.float32(item.offset[k])
    valid = np.logical_and.reduce(np.isfinite(out), axis=0)
    out[:, ~valid] = np.nan
    return out, valid


def read_mask(item: SceneItem, source: Source, geobox: GeoBox) -> NDArray[np.uint8]:
    """(y, x) `VALID`, `NO_DATA` or `CLOUD` of `item` on `geobox`, by the nearest pixel. Raises ReadError."""
    mask = source.mask
    out = np.full(geobox.shape, NO_DATA, np.uint8)
    if isinstance(mask, SclMask):
        (classes,) = _read(item, source, mask.asset, [1], geobox, Resampling.nearest)
        seen = np.isfinite(classes) & ~np.isin(classes, mask.nodata)
        out[seen] = VALID
        out[seen & np.isin(classes, mask.cloud)] = CLOUD
        return out
    band = source.bands[BANDS[0]]
    (values,) = _read(item, source, band.asset, [band.index], geobox, Resampling.nearest)
    out[np.isfinite(values)] = VALID
    return out


def _read(
    item: SceneItem, source: Source, asset: str, indexes: list[int], geobox: GeoBox, resampling: Resampling
) -> NDArray[np.float32]:
    """(len(indexes), y, x) dn as float32, NaN where there is none."""
    try:
        place = _location(item, source, asset)
        with rasterio.Env(**_settings(source)):
            level = _overview(place, source, geobox)
            with _open(place, source, level) as file:
                _check(file, indexes)
                return _warp(file, source, indexes, geobox, resampling)
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
    elif "s3" in source.schemes:
        settings["AWS_NO_SIGN_REQUEST"] = "YES"
    return settings


def _location(item: SceneItem, source: Source, asset: str) -> str:
    """The file of an asset, checked once more; a URL is signed here, just before it is read, and kept nowhere."""
    if asset not in item.hrefs:
        raise ReadError(f"item {plain(item.id, 120)} has no asset {plain(asset, 60)}")
    href = accepted_href(item.hrefs[asset], source)
    if source.is_local:
        return str(local_path(href, source.root))
    if source.signing == "planetary-computer":
        import planetary_computer

        return str(planetary_computer.sign_url(href))
    return href


@contextmanager
def _open(place: str, source: Source, level: int | None) -> Iterator[rasterio.DatasetReader]:
    options = {} if level is None else {"overview_level": level}
    drivers = list(dict.fromkeys("GTiff" if name == "COG" else name for name in source.drivers))
    for number, driver in enumerate(drivers):
        try:
            file = rasterio.open(place, driver=driver, **options)
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
    if file.crs is None:
        raise ValueError("the file states no CRS")
    if max(indexes) > file.count:
        raise ValueError(f"band {max(indexes)} is asked for, the file has {file.count}")


def _overview(place: str, source: Source, geobox: GeoBox) -> int | None:
    """The coarsest overview that is not coarser than the GeoBox; None for the full resolution."""
    with _open(place, source, None) as file:
        _check(file, [1])
        factors = file.overviews(1)
        fits = [k for k, factor in enumerate(factors) if factor * _geometry(file, geobox).ratio <= 1 + _NEAR_ONE]
    return fits[-1] if fits else None


def _geometry(file: rasterio.DatasetReader, geobox: GeoBox) -> _Geometry:
    """Of the whole file to the lattice of the GeoBox: the same for every window of it."""
    crs, gsd = geobox.crs.to_wkt() if geobox.crs else "", abs(geobox.affine.a)
    if rasterio.crs.CRS.from_wkt(crs) == file.crs:
        to_file = ~file.transform @ geobox.affine
        col, row = to_file.c, to_file.f
        one = all(abs(a - b) < _ALIGNED_PX / max(geobox.shape) for a, b in ((to_file.a, 1), (to_file.e, 1)))
        straight = abs(to_file.b) < 1e-12 and abs(to_file.d) < 1e-12
        if one and straight and abs(col - round(col)) < _ALIGNED_PX and abs(row - round(row)) < _ALIGNED_PX:
            return _Geometry(1.0, (round(row), round(col)))
    row, col = file.height / 2, file.width / 2
    xs, ys = zip(*(file.transform @ (col + dc, row + dr) for dr, dc in ((0, 0), (0, 1), (1, 0))), strict=True)
    xs, ys = transform_points(file.crs, crs, xs, ys)
    across = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
    down = math.hypot(xs[2] - xs[0], ys[2] - ys[0])
    ratio = math.sqrt(across * down) / gsd
    if not (math.isfinite(ratio) and ratio > 0):
        raise ValueError(f"the file's CRS cannot be brought to {geobox.crs}")
    return _Geometry(1.0 if abs(ratio - 1) < _NEAR_ONE else ratio, None)


def _warp(
    file: rasterio.DatasetReader, source: Source, indexes: list[int], geobox: GeoBox, resampling: Resampling
) -> NDArray[np.float32]:
    nodata = source.nodata if source.nodata is not None else file.nodata
    geometry = _geometry(file, geobox)
    if geometry.offset is not None:
        return _cut(file, indexes, nodata, geometry.offset, geobox.shape)
    scale = repr(min(geometry.ratio, 1.0))
    masked = nodata is None and MaskFlags.per_dataset in file.mask_flag_enums[indexes[0] - 1]
    with WarpedVRT(
        file,
        crs=geobox.crs.to_wkt() if geobox.crs else None,
        transform=geobox.affine,
        height=geobox.shape[0],
        width=geobox.shape[1],
        resampling=resampling,
        dtype="float32",
        src_nodata=nodata,
        nodata=_NOTHING,
        add_alpha=masked,
        tolerance=TOLERANCE_PX,
        num_threads=1,
        XSCALE=scale,
        YSCALE=scale,
        UNIFIED_SRC_NODATA="YES",
    ) as warped:
        out: NDArray[np.float32] = warped.read(indexes, out_dtype=np.float32)
        out[out == np.float32(_NOTHING)] = np.nan
        if masked:
            out[:, warped.read(warped.count) == 0] = np.nan
    return out


def _cut(
    file: rasterio.DatasetReader, indexes: list[int], nodata: float | None, offset: tuple[int, int], shape: Any
) -> NDArray[np.float32]:
    """Pixels as they are stored, from a file on the GeoBox's own lattice."""
    out = np.full((len(indexes), *shape), np.nan, np.float32)
    row, col = offset
    row0, row1 = max(row, 0), min(row + shape[0], file.height)
    col0, col1 = max(col, 0), min(col + shape[1], file.width)
    if row1 <= row0 or col1 <= col0:
        return out
    window = RasterWindow(col0, row0, col1 - col0, row1 - row0)
    values = file.read(indexes, window=window).astype(np.float32)
    if nodata is not None and not math.isnan(nodata):
        values[:, (values == np.float32(nodata)).all(axis=0)] = np.nan
    flags = file.mask_flag_enums[indexes[0] - 1]
    if MaskFlags.per_dataset in flags:
        values[:, file.dataset_mask(window=window) == 0] = np.nan
    out[:, row0 - row : row1 - row, col0 - col : col1 - col] = values
    return out
