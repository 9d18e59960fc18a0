"""How far a reference lies beside the LR scene, measured from LR alone, and taken out.

Both pictures, bands averaged, are brought to what the LR sensor sees of them, and one shift between the two is found
by least squares on their gradients (Lucas and Kanade 1981), reweighted so that changed ground has little say. LR's
pixels are wide, but many of them agree on one shift: it comes out to a fraction of an HR pixel. A shift is believed
where the two pictures agree well after it, and better than before.

Pictures are (band, y, x); shifts are in HR pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from dsdit.sensor import decimate, restored_lr

Array = NDArray[np.float32]
LIMIT_LR = 0.6
"""Largest believable shift, in LR pixels."""
AGREEMENT = 0.5
"""Correlation, after the shift, from which it is believed."""
_ITERATIONS = 4
_FLATTEN_LR = 4.0
_MARGIN_LR = 2


@dataclass(frozen=True)
class Shift:
    """The reference at (y + dy, x + dx) shows what LR shows at (y, x)."""

    dy: float
    """HR pixels downwards."""
    dx: float
    """HR pixels to the right."""
    agreement: float
    """Correlation of what the LR sensor sees of both, after the shift."""

    @property
    def none(self) -> bool:
        """Whether nothing is to be moved."""
        return self.dy == 0 and self.dx == 0


def moved(picture: Array, dy: float, dx: float) -> Array:
    """picture(y + dy, x + dx) by cubic splines; edges go on with their last pixel."""
    return np.asarray(shift(picture, (0, -dy, -dx), order=3, mode="nearest"), np.float32)


def _flat(picture: Array, sigma_px: float) -> NDArray[np.float64]:
    """Without the slow differences in light that two dates have."""
    return np.asarray(picture - gaussian_filter(picture, (0, sigma_px, sigma_px)), np.float64)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-12))


def measure_shift(lr: Array, ref: Array, scale: int, mtf_nyquist: float) -> Shift:
    """LR (band, h, w) and reference (band, h * scale, w * scale), in one radiometry -> the shift between them.

    (0, 0) where no shift can be believed, or where the pictures are too small to tell.
    """
    lr, ref = lr.mean(0, keepdims=True), ref.mean(0, keepdims=True)
    margin = _MARGIN_LR * scale
    if min(lr.shape[1:]) < 4 * _MARGIN_LR:
        return Shift(0.0, 0.0, 0.0)
    inner = (slice(None), slice(margin, -margin, 2), slice(margin, -margin, 2))
    sigma = _FLATTEN_LR * scale
    wanted = _flat(restored_lr(lr, scale, mtf_nyquist), sigma)[inner]
    place = np.zeros(2)
    agreements = []
    for step in range(_ITERATIONS + 1):
        at = ref if not place.any() else moved(ref, *place)
        seen = _flat(restored_lr(decimate(at, scale, mtf_nyquist), scale, mtf_nyquist), sigma)
        down, right = np.gradient(seen, axis=1)[inner], np.gradient(seen, axis=2)[inner]
        error = wanted - seen[inner]
        agreements.append(_correlation(wanted, seen[inner]))
        if step == _ITERATIONS:
            break
        weight = 1 / (1 + np.abs(error) / (1.5 * np.median(np.abs(error)) + 1e-9))
        normal = np.array(
            [
                [(weight * down * down).sum(), (weight * down * right).sum()],
                [(weight * down * right).sum(), (weight * right * right).sum()],
            ]
        )
        if np.linalg.cond(normal) > 1e6:
            return Shift(0.0, 0.0, agreements[0])
        place = place + np.linalg.solve(normal, [(weight * down * error).sum(), (weight * right * error).sum()])
        if np.abs(place).max() > LIMIT_LR * scale:
            return Shift(0.0, 0.0, agreements[0])
    if agreements[-1] < max(AGREEMENT, agreements[0]):
        return Shift(0.0, 0.0, agreements[0])
    return Shift(float(place[0]), float(place[1]), agreements[-1])
