"""What is believed of an open file before a pixel of it is read: files come from outside, GDAL must hold a block."""

from __future__ import annotations

import numpy as np
import rasterio
from rasterio.enums import Interleaving

MAX_SIDE_PX = 400_000
"""Side of the largest file that is believed."""
MAX_BLOCK_BYTES = 2**28
"""Bytes of the largest block of a file that is believed, all bands where they lie in one: GDAL must hold it."""
MAX_BANDS = 1000
"""Bands of a file that are believed."""
_ELSEWHERE = "OVERVIEWS"
"""Domain of metadata that tells GDAL where overviews and masks lie."""


def check_believed(file: rasterio.DatasetReader) -> None:
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
    sizes = [h * w * np.dtype(t).itemsize for (h, w), t in zip(file.block_shapes, file.dtypes, strict=True)]
    held = max(sizes) if file.interleaving == Interleaving.band else sum(sizes)
    if held > MAX_BLOCK_BYTES:
        shape = " x ".join(map(str, file.block_shapes[0]))
        raise ValueError(
            f"blocks of {shape} px are more than is believed of one file: {held} bytes at once, "
            f"{MAX_BLOCK_BYTES} at most: write it in tiles, such as those of a COG"
        )
    if file.crs is None:
        raise ValueError("the file states no CRS")
