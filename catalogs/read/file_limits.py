"""Limits on an open file, checked before a pixel is read: files are untrusted, and GDAL must hold a block in memory.

A TIFF is a chain of images: the full one, overviews, and their masks. GDAL reads any of them as it needs, so the blocks
of all of them are checked. Only the head of the file is needed, which GDAL has read on opening it.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import rasterio
from rasterio.enums import Interleaving
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

MAX_SIDE_PX = 400_000
"""Longest side of a file."""
MAX_BLOCK_BYTES = 2**28
"""Largest block of a file, all bands where they are interleaved in one: GDAL holds it in memory."""
MAX_BANDS = 1000
"""Most bands of a file."""
MAX_PICTURES = 64
"""Most images in a TIFF: a COG of the largest side has twenty, masks among them."""
_ELSEWHERE = "OVERVIEWS"
"""Domain of metadata from which GDAL takes the file of overviews and masks."""


def check_limits(file: rasterio.DatasetReader) -> None:
    """Raises ValueError where the file is beyond these limits, names another file, has complex pixels or no CRS.

    GDAL reads overviews from any file, of any driver and host, that the metadata of this one names.
    """
    if any(file.tags(band, ns=_ELSEWHERE) for band in range(min(file.count, MAX_BANDS) + 1)):
        raise ValueError(f"its metadata names another file as its overviews ({_ELSEWHERE}): only its own are read")
    if max(file.width, file.height) > MAX_SIDE_PX:
        raise ValueError(f"{file.width} x {file.height} px is more than the limit for one file ({MAX_SIDE_PX})")
    if file.count > MAX_BANDS:
        raise ValueError(f"{file.count} bands are more than the limit for one file ({MAX_BANDS})")
    if odd := [dtype for dtype in file.dtypes if dtype.startswith("complex")]:
        raise ValueError(f"its pixels are {odd[0]}: only integers and floats are read")
    _check_blocks(file, "blocks")
    if file.crs is None:
        raise ValueError("the file states no CRS")


def check_pictures(gdal_path: str) -> None:
    """Raises ValueError where an overview or a mask of a TIFF is beyond the limits of `check_limits`.

    `gdal_path` is as `gdal_path` of catalogs/allowed.py gives it. GDAL reads nothing from an image it cannot open.
    """
    with rasterio.Env(GDAL_GEOREF_SOURCES="INTERNAL", CPL_VSIL_CURL_ALLOWED_FILENAME=gdal_path):
        for number in range(2, MAX_PICTURES + 2):
            try:
                with rasterio.open(f"GTIFF_DIR:{number}:{gdal_path}", driver="GTiff") as picture:
                    _check_blocks(picture, f"blocks of picture {number}")
            except RasterioIOError as error:
                if "not found" in str(error):
                    return
    raise ValueError(f"more than {MAX_PICTURES} pictures in one TIFF are not accepted")


def _check_blocks(file: rasterio.DatasetReader, name: str) -> None:
    """Raises ValueError where GDAL would have to hold too much at once."""
    sizes = [h * w * np.dtype(t).itemsize for (h, w), t in zip(file.block_shapes, file.dtypes, strict=True)]
    held = max(sizes) if file.interleaving == Interleaving.band else sum(sizes)
    if held > MAX_BLOCK_BYTES:
        shape = " x ".join(map(str, file.block_shapes[0]))
        raise ValueError(
            f"{name} of {shape} px are more than the limit for one file: {held} bytes at once, "
            f"{MAX_BLOCK_BYTES} at most: write it in tiles, such as those of a COG"
        )


@cache
def ignore_missing_georeference() -> None:
    """Silences rasterio's warning in this process: overviews have no georeference of their own.

    A file without one is refused for its missing CRS.
    """
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
