"""A reference brought to an LR scene: one shift and one gain and offset a band, both estimated as a plan does it.

Arrays are (band, y, x) in reflectance.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, shift

from dsdit.imaging.fill import carry
from dsdit.imaging.matching import MIN_SAMPLES, match_moments
from dsdit.imaging.shift import common_shift, moved, search_shift

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
WINDOW_LR_PX = 64
"""Side of the windows in which a shift is searched; a smaller scene is one window."""
_SPLINE_PX = 2
"""Pixels around an invalid one that a cubic spline mixes with it visibly."""


def blocks(values: NDArray[np.generic], side: int) -> Array:
    """Means of side x side pixels of (..., y, x); what is left at the lower and right edge is cut off."""
    height, width = (n // side for n in values.shape[-2:])
    cut = values[..., : height * side, : width * side].astype(np.float32)
    means: Array = cut.reshape(*values.shape[:-2], height, side, width, side).mean((-3, -1), dtype=np.float32)
    return means


def register(lr: Array, valid: Mask, ref: Array, ref_valid: Mask, scale: int, mtf_nyquist: float) -> tuple[Array, Mask]:
    """(reference, where it is valid), moved onto LR where a common shift is accepted; unchanged elsewhere.

    `lr` and `ref` are finite. Scenes of less than 24 LR pixels are too small to estimate a shift.
    """
    both = valid & (blocks(ref_valid, scale) == 1)
    found = []
    for rows in _windows(lr.shape[1]):
        for cols in _windows(lr.shape[2]):
            fine = (slice(None), *(slice(part.start * scale, part.stop * scale) for part in (rows, cols)))
            clear = both[rows, cols]
            if clear.mean() < 0.5:
                continue
            searched = search_shift(lr[:, rows, cols], ref[fine], scale, mtf_nyquist, clear)
            if searched is not None:
                found.append(searched)
    common = common_shift(found, scale)
    if not common.worth_moving(scale):
        return ref, ref_valid
    # Pixels that the spline mixes with invalid ones, or that come from outside, are not valid afterwards.
    spoilt = binary_dilation(~ref_valid, iterations=_SPLINE_PX)
    outside = shift(spoilt.astype(np.float32), (-common.dy, -common.dx), order=1, mode="constant", cval=1.0)
    return moved(ref, common.dy, common.dx), outside == 0


def _windows(length: int) -> list[slice]:
    if length < 2 * WINDOW_LR_PX:
        return [slice(0, length)]
    count = length // WINDOW_LR_PX
    return [slice(a, b) for a, b in pairwise(length * k // count for k in range(count + 1))]


def match(lr: Array, valid: Mask, ref: Array, ref_valid: Mask, scale: int) -> Array:
    """gain * ref + offset, one fit over all that both see; unchanged where they share too little.

    Samples are means of 2 x 2 LR pixels, below LR's resolution; of single ones where a scene has too few.
    """
    both = valid & (blocks(ref_valid, scale) == 1)
    for side in (2, 1):
        whole = blocks(both, side) == 1
        if whole.sum() >= MIN_SAMPLES:
            fit = match_moments(blocks(ref, side * scale)[:, whole], blocks(lr, side)[:, whole])
            if fit is None:
                return ref
            gain, offset = (np.asarray(values, np.float32)[:, None, None] for values in fit)
            return ref * gain + offset
    return ref


def prepare_reference(
    lr: Array, valid: Mask, ref: Array, scale: int, mtf_nyquist: float, registered: bool
) -> tuple[Array, Mask]:
    """Reference on LR's HR pixels, NaN where missing -> (the same in LR's place and radiometry, where it is valid)."""
    ref_valid = np.asarray(np.isfinite(ref).all(0))
    if not ref_valid.any():
        return np.zeros_like(ref), ref_valid
    ref = carry(ref, ref_valid, scale)
    if registered:
        ref, ref_valid = register(lr, valid, ref, ref_valid, scale, mtf_nyquist)
    return match(lr, valid, ref, ref_valid, scale), ref_valid
