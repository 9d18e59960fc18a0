"""The effect of cubic convolution on LR that is read off its own pixels.

Staging reads LR by GDAL's cubic convolution (Keys 1981, a = -1/2) wherever the pixels of a file are not those of the
grid. Away from whole pixels it blurs, most at half a pixel, and it delays high frequencies less than low ones, most
near a quarter of a pixel: 0.05 to 0.1 LR pixels for what two dates share. An offset (y, x) is how far, in LR pixels,
a grid's pixel is down and right of the file's; where both are in different CRSs it changes from place to place, so
that several stand for a window.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

Floats = NDArray[np.float64]
Offset = tuple[float, float]
"""(y, x) in LR pixels; whole pixels do not matter."""
ON_PIXELS: tuple[Offset, ...] = ((0.0, 0.0),)


def cubic_weights(offset_px: float) -> tuple[float, float, float, float]:
    """Weights of the pixels -1, 0, 1 and 2 for a place `offset_px` (0 to 1) beyond pixel 0."""
    t = offset_px
    return (
        -0.5 * t**3 + t**2 - 0.5 * t,
        1.5 * t**3 - 2.5 * t**2 + 1,
        -1.5 * t**3 + 2 * t**2 + 0.5 * t,
        0.5 * t**3 - 0.5 * t**2,
    )


def cubic_power(fy: Floats, fx: Floats, offsets_px: tuple[Offset, ...]) -> Floats:
    """|transfer|^2 at frequencies in cycles an LR pixel, the mean over the offsets."""
    return np.asarray(sum(_power(fy, dy) * _power(fx, dx) for dy, dx in offsets_px) / len(offsets_px), np.float64)


def _power(frequency: Floats, offset_px: float) -> Floats:
    weights = enumerate(cubic_weights(offset_px % 1.0), -1)
    return np.asarray(np.abs(sum(w * np.exp(2j * np.pi * frequency * k) for k, w in weights)) ** 2, np.float64)


def read_through_cubic(hr: Floats, scale: int, offsets_px: tuple[Offset, ...]) -> Floats:
    """A picture at HR (y, x) that holds at each place what cubic convolution reads there of it sampled at LR pixels.

    For a place of the grid at (y, x) the file's pixel k LR pixels further is at y + (k - offset) * scale.
    """
    for axis in (0, 1):
        parts = sorted({offset[axis] % 1.0 for offset in offsets_px})
        if parts != [0.0]:
            taps = np.mean([_taps(offset[axis] % 1.0, scale) for offset in offsets_px], 0)
            hr = np.asarray(correlate1d(hr, taps, axis=axis, mode="nearest"), np.float64)
    return hr


def _taps(offset_px: float, scale: int) -> Floats:
    """Over HR pixels -2 scale to 2 scale; what falls between two of them is shared by distance."""
    taps = np.zeros(4 * scale + 1)
    for k, weight in enumerate(cubic_weights(offset_px), -1):
        place = (k - offset_px) * scale + 2 * scale
        first = math.floor(place)
        taps[first] += weight * (1 - (place - first))
        if place > first:
            taps[first + 1] += weight * (place - first)
    return taps
