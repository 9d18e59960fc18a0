"""Restoring LR truth within physical bounds: no reflectance below zero, no ring far above what LR shows nearby.

Back-projection alone overshoots beside sharp bright objects: dark and coloured rings, and reflectance below zero.
`restore_within` clips to local bounds and gives LR back what clipping took, in one short second step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from dsdit.imaging.sensor import RESTORE_ITERATIONS, decimate, restore, upsample

Array = NDArray[np.float32]

DARK = 0.01
"""Reflectance. Where all LR pixels of the 3 x 3 around are above it, no pixel goes below zero."""
CEILING = 1.2
"""Times the largest LR value within `NEAR_LR` LR pixels: the upper bound without a reference. With one there is none:
a small bright object that the reference shows may be many times brighter than its LR pixel."""
NEAR_LR = 2
_STEP = np.float32(1.4)
"""Of the second step. `upsample` is not the inverse of A: steps from 1 to 2.2 converge, 1.4 leaves the least error."""


def reflectance_bounds(lr: Array, scale: int, referenced: NDArray[np.bool_] | None = None) -> tuple[Array, Array]:
    """(lower, upper) of each HR pixel from `lr` (band, h, w) in reflectance; both (band, h * scale, w * scale).

    `referenced` (h * scale, w * scale) is True where a reference was used; None: nowhere. NaN in `lr` bounds nothing.
    """
    darkest = minimum_filter(np.where(np.isnan(lr), np.float32(np.inf), lr), (1, 3, 3), mode="nearest")
    side = 2 * NEAR_LR + 1
    brightest = maximum_filter(np.where(np.isnan(lr), np.float32(-np.inf), lr), (1, side, side), mode="nearest")
    lower = _spread(np.where(darkest > DARK, np.float32(0), np.float32(-np.inf)), scale)
    brightest = np.where(brightest > DARK, brightest, np.float32(np.inf))  # ratios say nothing of dark water
    upper = _spread(brightest, scale) * np.float32(CEILING)
    return lower, upper if referenced is None else np.where(referenced, np.float32(np.inf), upper)


def _spread(values: Array, scale: int) -> Array:
    return np.repeat(np.repeat(values, scale, -2), scale, -1)


def restore_within(
    hr: Array,
    lr: Array,
    scale: int,
    mtf_nyquist: float,
    bounds: tuple[Array, Array],
    valid: NDArray[np.bool_] | None = None,
    iterations: int = RESTORE_ITERATIONS,
) -> Array:
    """`restore`, clipped to `bounds`, corrected once more, and clipped: (band, H, W), reflectance in and out.

    The second correction is spread by cubic convolution, whose reach is short: see `sensor.reach_px`. `valid` (h, w)
    is True where `lr` counts. Returns a new array.
    """
    lower, upper = bounds
    out = np.clip(restore(hr, lr, scale, mtf_nyquist, iterations, valid), lower, upper)
    error = lr - decimate(out, scale, mtf_nyquist)
    if valid is not None:
        error = np.where(valid, error, np.float32(0))
    return np.clip(out + upsample(error, scale) * _STEP, lower, upper)
