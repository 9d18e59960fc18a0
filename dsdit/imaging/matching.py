"""Radiometric matching: gain and offset of each band that give a reference the mean and deviation of LR."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_SAMPLES = 64
"""Samples below which nothing is fitted."""
_GAIN_LIMITS = (0.1, 10.0)


def match_moments(
    ref: NDArray[np.float32], lr: NDArray[np.float32]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """(gains, offsets), one a band, of (band, n) samples in reflectance, well below LR's resolution.

    gain = std(lr) / std(ref), offset = mean(lr) - gain mean(ref), without the outer 2% of each. None where too few
    samples are left or the reference is constant.
    """
    gains, offsets = [], []
    for r, t in zip(ref.astype(np.float64), lr.astype(np.float64), strict=True):
        r_low, r_high = np.quantile(r, (0.01, 0.99))
        t_low, t_high = np.quantile(t, (0.01, 0.99))
        inner = (r >= r_low) & (r <= r_high) & (t >= t_low) & (t <= t_high)
        if inner.sum() < MIN_SAMPLES // 2 or r[inner].std() < 1e-6:
            return None
        # Rounded, so that the last bits of a sum do not reach a plan's digest.
        gains.append(round(float(np.clip(t[inner].std() / r[inner].std(), *_GAIN_LIMITS)), 5))
        offsets.append(round(float(t[inner].mean() - gains[-1] * r[inner].mean()), 6))
    return tuple(gains), tuple(offsets)
