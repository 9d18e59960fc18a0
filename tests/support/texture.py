"""Ground that is made up: random pictures with the power spectrum of real ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def texture(seed: int, side: int, slope: float = 2.2) -> NDArray[np.float32]:
    """(1, side, side) of deviation 1 whose power falls as frequency^-slope; it goes on across its edges."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=(side, side)))
    values = np.fft.ifft2(noise * frequency ** (-slope / 2)).real
    return (values / values.std()).astype(np.float32)[None]


def cubic_at(picture: NDArray[np.float32], down_px: float, right_px: float) -> NDArray[np.float32]:
    """(..., y, x) read that far further down and right by cubic convolution with a = -1/2, as GDAL does it."""
    for axis, t in ((-2, down_px), (-1, right_px)):
        weights = (
            (-0.5 * t**3 + t**2 - 0.5 * t, -1),
            (1.5 * t**3 - 2.5 * t**2 + 1, 0),
            (-1.5 * t**3 + 2 * t**2 + 0.5 * t, 1),
            (0.5 * t**3 - 0.5 * t**2, 2),
        )
        picture = np.asarray(sum(w * np.roll(picture, -k, axis) for w, k in weights), np.float32)
    return picture
