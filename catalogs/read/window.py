"""Pixels of a window of a file as they are stored, or averaged over steps of several, and NaN where there is no data.

GDAL averages, from overviews where the file has them, and leaves out what the file itself states as nodata. It does not
know a nodata value that only the source states, and whoever made the overviews did not either: such a file is read
pixel by pixel, in parts, and averaged here. A band that is called alpha and is none hides pixels from GDAL's averages:
where it hides all of a step, that step is averaged here too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.dtypes import in_dtype_range
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.windows import Window

Array = NDArray[np.float32]
PART_PX = 2048
"""Side of the parts in which a file is averaged here; no step is longer."""


@dataclass(frozen=True)
class Look:
    """How the bands of a file are read."""

    file: rasterio.DatasetReader
    indexes: list[int]
    resampling: Resampling
    """Nearest takes one pixel of each step, all others average it."""
    nodata: float | None
    """dn without data where all of `indexes` hold it; None: the file's own."""
    alpha: bool
    """Whether an alpha band takes pixels away."""

    def stored(self, row: int, col: int, shape: tuple[int, int], step: int) -> Array:
        """(band, y/step, x/step) of a window as the file holds it, NaN where it has no data or does not reach.

        Raises rasterio's errors, and ValueError where a step is too long to be averaged here.
        """
        file = self.file
        out = np.full((len(self.indexes), shape[0] // step, shape[1] // step), np.nan, np.float32)
        row0, row1 = max(row, 0), min(row + shape[0], file.height // step * step)
        col0, col1 = max(col, 0), min(col + shape[1], file.width // step * step)
        if row1 <= row0 or col1 <= col0:
            return out
        window = Window(col0, row0, col1 - col0, row1 - row0)
        small = ((row1 - row0) // step, (col1 - col0) // step)
        averaged = step > 1 and self.resampling != Resampling.nearest
        if averaged and self._unknown_to_gdal():
            values = self._averaged(window, step)
        else:
            values = self._read(window, small)
            if averaged and not self.alpha and ColorInterp.alpha in file.colorinterp:
                band = file.colorinterp.index(ColorInterp.alpha) + 1
                hidden = file.read(band, window=window, out_shape=small, resampling=Resampling.average) == 0
                if hidden.any():
                    values[:, hidden] = self._averaged(window, step)[:, hidden]
        top, left = (row0 - row) // step, (col0 - col) // step
        out[:, top : top + small[0], left : left + small[1]] = values
        return out

    def _read(self, window: Window, shape: tuple[int, int]) -> Array:
        """(band, *shape) of a window by GDAL, NaN where there is no data."""
        file, indexes = self.file, self.indexes
        merge = Resampling.nearest if self.resampling == Resampling.nearest else Resampling.average
        if shape == (window.height, window.width):
            read = file.read(indexes, window=window)
        else:
            # Of several bands in one call GDAL places overviews of rounded size wrongly; of one band it does not.
            read = np.stack([file.read(index, window=window, out_shape=shape, resampling=merge) for index in indexes])
        values: Array = read.astype(np.float32)
        nodata = file.nodata if self.nodata is None else self.nodata
        if nodata is not None and not math.isnan(nodata):
            values[:, np.logical_and.reduce(values == np.float32(nodata), axis=0)] = np.nan
        flags = file.mask_flag_enums[indexes[0] - 1]
        if MaskFlags.per_dataset in flags and (self.alpha or MaskFlags.alpha not in flags):
            mask = file.read_masks(indexes[0], window=window, out_shape=shape, resampling=Resampling.nearest)
            values[:, mask == 0] = np.nan
        values[:, ~np.logical_and.reduce(np.isfinite(values), axis=0)] = np.nan
        return values

    def _unknown_to_gdal(self) -> bool:
        """Whether pixels may hold a nodata value that the file does not state."""
        if self.nodata is None:
            return False
        stated = [(self.file.nodatavals[index - 1], self.file.dtypes[index - 1]) for index in self.indexes]
        return any(
            in_dtype_range(self.nodata, dtype) and (own is None or not np.isclose(own, self.nodata, equal_nan=True))
            for own, dtype in stated
        )

    def _averaged(self, window: Window, step: int) -> Array:
        """(band, y/step, x/step) of a window of whole steps: the mean of the pixels with data.

        Each step is added up in one order, whatever the window: by rows, then by columns.
        """
        if step > PART_PX:
            raise ValueError(
                f"{step} x {step} px of the file fall into one, and its nodata ({self.nodata}) is not stated in it: "
                "state it in the file"
            )
        out = np.empty((len(self.indexes), window.height // step, window.width // step), np.float32)
        side = PART_PX // step
        for top in range(0, out.shape[1], side):
            for left in range(0, out.shape[2], side):
                place = (slice(None), slice(top, top + side), slice(left, left + side))
                rows, cols = out[place].shape[1:]
                corner = window.col_off + left * step, window.row_off + top * step
                values = self._read(Window(*corner, cols * step, rows * step), (rows * step, cols * step))
                finite = np.isfinite(values[:1])
                total, count = _added(np.where(finite, values, 0), step), _added(finite, step)
                out[place] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return out


def _added(values: NDArray[Any], step: int) -> NDArray[np.float64]:
    """Sums over steps of (band, y, x)."""
    down = np.zeros((len(values), values.shape[1] // step, values.shape[2]), np.float64)
    total = np.zeros((*down.shape[:2], values.shape[2] // step), np.float64)
    for k in range(step):
        down += values[:, k::step]
    for k in range(step):
        total += down[:, :, k::step]
    return total
