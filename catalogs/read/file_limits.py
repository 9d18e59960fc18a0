"""What is believed of an open file before a pixel of it is read: files come from outside, GDAL must hold a block.

A TIFF is a chain of pictures: the full one, reduced ones, and their masks. GDAL reads out of each as it needs, so the
blocks of all of them are judged. What is looked at is the head of the file, which GDAL has read on opening it.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import rasterio
from rasterio.enums import Interleaving
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

MAX_SIDE_PX = 400_000
"""Side of the largest file that is believed."""
MAX_BLOCK_BYTES = 2**28
"""Bytes of the largest block of a file that is believed, all bands where they lie in one: GDAL must hold it."""
MAX_BANDS = 1000
"""Bands of a file that are believed."""
MAX_PICTURES = 64
"""Pictures of a TIFF that are believed: a COG of the largest side has twenty, masks among them."""
_ELSEWHERE = "OVERVIEWS"
"""Domain of metadata that tells GDAL where overviews and masks lie."""


def check_limits(file: rasterio.DatasetReader) -> None:
    """Raises ValueError where the file is beyond these bounds, names another file, has complex pixels or no CRS.

    GDAL reads reduced pictures out of whatever file, of whatever driver and host, the metadata of this one names.
    """
    if any(file.tags(band, ns=_ELSEWHERE) for band in range(min(file.count, MAX_BANDS) + 1)):
        raise ValueError(f"its metadata names another file as its overviews ({_ELSEWHERE}): only its own are read")
    if max(file.width, file.height) > MAX_SIDE_PX:
        raise ValueError(f"{file.width} x {file.height} px is more than is believed of one file ({MAX_SIDE_PX})")
    if file.count > MAX_BANDS:
        raise ValueError(f"{file.count} bands are more than are believed of one file ({MAX_BANDS})")
    if odd := [dtype for dtype in file.dtypes if dtype.startswith("complex")]:
        raise ValueError(f"its pixels are {odd[0]}: only integers and floats are read")
    _check_blocks(file, "blocks")
    if file.crs is None:
        raise ValueError("the file states no CRS")


def check_pictures(gdal_path: str) -> None:
    """Raises ValueError where a reduced picture or a mask of a TIFF is beyond what `check_limits` bounds.

    `gdal_path` is as `gdal_path` of catalogs/allowed.py gives it. One that GDAL cannot open, it does not read out of.
    """
    with rasterio.Env(GDAL_GEOREF_SOURCES="INTERNAL", CPL_VSIL_CURL_ALLOWED_FILENAME=gdal_path):
        for number in range(2, MAX_PICTURES + 2):
            try:
                with rasterio.open(f"GTIFF_DIR:{number}:{gdal_path}", driver="GTiff") as picture:
                    _check_blocks(picture, f"blocks of picture {number}")
            except RasterioIOError as error:
                if "not found" in str(error):
                    return
    raise ValueError(f"more than {MAX_PICTURES} pictures in one TIFF are not believed")


def _check_blocks(file: rasterio.DatasetReader, name: str) -> None:
    """Raises ValueError where GDAL would have to hold too much at once."""
    sizes = [h * w * np.dtype(t).itemsize for (h, w), t in zip(file.block_shapes, file.dtypes, strict=True)]
    held = max(sizes) if file.interleaving == Interleaving.band else sum(sizes)
    if held > MAX_BLOCK_BYTES:
        shape = " x ".join(map(str, file.block_shapes[0]))
        raise ValueError(
            f"{name} of {shape} px are more than is believed of one file: {held} bytes at once, "
            f"{MAX_BLOCK_BYTES} at most: write it in tiles, such as those of a COG"
        )


@cache
def ignore_missing_georeference() -> None:
    """Silences rasterio's warning in this process: reduced pictures have no georeference of their own.

    A file without one is refused for its missing CRS.
    """
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
