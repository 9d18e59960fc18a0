"""How far a reference lies beside the LR scene, measured from LR alone, and taken out.

Both pictures, bands averaged, are brought to what the LR sensor sees of them, and one shift between the two is found
by least squares on their gradients (Lucas and Kanade 1981), reweighted so that changed ground has little say. LR's
pixels are wide, but many of them agree on one shift: it comes out to a fraction of an HR pixel. A shift is believed
where the two pictures agree well after it, and better than before.

Pictures are (band, y, x); shifts are in HR pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, map_coordinates, shift, uniform_filter

from dsdit.imaging.sensor import decimate, gaussian_sigma_px, restored_lr

Array = NDArray[np.float32]
LIMIT_LR = 0.6
"""Largest believable shift, in LR pixels."""
AGREEMENT = 0.5
"""Correlation, after the shift, from which it is believed."""
SEARCH_LR = 2
"""Largest shift of a pair of scenes that is looked for, in LR pixels."""
WINDOW_AGREEMENT = 0.75
"""Agreement, under a gain that is free from place to place, from which one window's shift is believed."""
LEAST_SHARE = 0.25
"""Share of a pair's windows that must be believed."""
WINDOW_ERROR_LR = 0.06
"""What one believed window errs where ground has changed, in LR pixels."""
SPREAD_LR = 0.25
"""Median distance of a pair's windows from their common shift above which there is no common shift, in LR pixels."""
LEAST_MOVE_PX = 0.2
"""Shorter shifts, in HR pixels, are not corrected, nor are those shorter than their error: resampling costs detail."""
_ITERATIONS = 4
_FLATTEN_LR = 4.0
_MARGIN_LR = 2
_STIFF = 1e6
_NEAR_LR = 1.5
_EDGE_LR = SEARCH_LR + 2
_ROUNDS = 12
_SETTLED_PX = 0.02
_LEAST_LR_PX = 256


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
        normal, pull = _equations(down, right, error)
        if np.linalg.cond(normal) > _STIFF:
            return Shift(0.0, 0.0, agreements[0])
        place = place + np.linalg.solve(normal, pull)
        if np.abs(place).max() > LIMIT_LR * scale:
            return Shift(0.0, 0.0, agreements[0])
    if agreements[-1] < max(AGREEMENT, agreements[0]):
        return Shift(0.0, 0.0, agreements[0])
    return Shift(float(place[0]), float(place[1]), agreements[-1])


@dataclass(frozen=True)
class PairShift:
    """One shift for a pair of scenes, from several windows of their overlap. In HR pixels, as `Shift`."""

    dy: float = 0.0
    dx: float = 0.0
    agreement: float = 0.0
    """Median over the windows that were believed; where none was, over all."""
    windows: int = 0
    """How many were believed; 0 where there is no shift to speak of."""
    seen: int = 0
    """How many were clear enough to tell."""
    residual: float = 0.0
    """Median distance of the believed windows from the common shift: what is left after moving."""

    @property
    def accepted(self) -> bool:
        """Whether there is a common shift."""
        return self.windows > 0

    def doubt(self, scale: int) -> float:
        """About the error of the shift, in HR pixels: what one window errs, or what they differ, by their number."""
        return max(self.residual, WINDOW_ERROR_LR * scale) / math.sqrt(max(self.windows, 1))

    def worth_moving(self, scale: int) -> bool:
        """True where the shift is known and longer than `LEAST_MOVE_PX` and than its own error."""
        return self.accepted and math.hypot(self.dy, self.dx) >= max(LEAST_MOVE_PX, self.doubt(scale))


def search_shift(
    lr: Array, ref: Array, scale: int, mtf_nyquist: float, valid: NDArray[np.bool_] | None = None
) -> tuple[Shift, bool] | None:
    """(shift, believed) of LR (band, h, w) and reference (band, h * scale, w * scale), up to `SEARCH_LR` LR pixels.

    The reference is blurred once as the LR sensor sees it, then read at the LR pixels' places moved by the shift: first
    on a raster of half LR pixels, then by Gauss-Newton steps from the best of them. Gain and offset are free from place
    to place, even in sign: fields that ripened keep their edges. `valid` (h, w) says which LR pixels both see clearly.
    None where too little is clear to tell.
    """
    valid = np.ones(lr.shape[1:], bool) if valid is None else valid
    known = binary_erosion(valid, iterations=_EDGE_LR, border_value=0)
    if known.sum() < _LEAST_LR_PX:
        return None
    wanted = _contrast(_filled(lr.mean(0, dtype=np.float64), valid))
    blur = _filled(ref.mean(0, dtype=np.float64), np.repeat(np.repeat(valid, scale, 0), scale, 1))
    blur = gaussian_filter(blur, gaussian_sigma_px(mtf_nyquist, scale), mode="nearest")
    blur = uniform_filter(blur, scale, mode="nearest")
    slopes = np.gradient(blur)
    rows, cols = np.meshgrid(*(np.arange(n) * scale + scale // 2 for n in lr.shape[1:]), indexing="ij")

    def look(values: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
        at = (rows + place[0], cols + place[1])
        return _contrast(np.asarray(map_coordinates(values, at, order=1, mode="nearest"), np.float64))

    def agreement(place: NDArray[np.float64]) -> float:
        seen = look(blur, place)
        told = (_gain(wanted, seen, known) * seen * wanted)[known].sum()
        return float(np.sqrt(max(told, 0.0) / max((wanted[known] ** 2).sum(), 1e-12)))

    steps = np.arange(-2 * SEARCH_LR, 2 * SEARCH_LR + 1) * scale / 2
    starts = [np.array([dy, dx]) for dy in steps for dx in steps]
    start = max(starts, key=lambda place: (round(agreement(place), 9), -float(np.hypot(*place))))
    place, settled = start, False
    for _ in range(_ROUNDS):
        seen = look(blur, place)
        gain = _gain(wanted, seen, known)
        down, right = ((gain * look(slope, place))[known] for slope in slopes)
        error = (wanted - gain * seen)[known]
        normal, pull = _equations(down, right, error)
        if not np.linalg.cond(normal) < _STIFF:
            break
        step = np.linalg.solve(normal, pull)
        place = place + step
        if np.abs(place).max() > (SEARCH_LR + 0.5) * scale:
            break
        if np.abs(step).max() < _SETTLED_PX:
            settled = True
            break
    found = agreement(place if settled else start)
    believed = settled and found >= max(WINDOW_AGREEMENT, agreement(start) - 0.01)
    return Shift(float(place[0]), float(place[1]), found) if believed else Shift(0.0, 0.0, found), believed


def common_shift(windows: list[tuple[Shift, bool]], scale: int) -> PairShift:
    """The median of the believed windows' shifts; none where they are few or tell of unlike shifts."""
    if not windows:
        return PairShift()
    told = [shift for shift, believed in windows if believed]
    if not told or len(told) < LEAST_SHARE * len(windows):
        return PairShift(agreement=float(np.median([shift.agreement for shift, _ in windows])), seen=len(windows))
    dy, dx = (float(np.median([getattr(shift, axis) for shift in told])) for axis in ("dy", "dx"))
    agreement = float(np.median([shift.agreement for shift in told]))
    residual = float(np.median([np.hypot(shift.dy - dy, shift.dx - dx) for shift in told]))
    if residual > SPREAD_LR * scale:
        return PairShift(agreement=agreement, seen=len(windows), residual=residual)
    return PairShift(dy, dx, agreement, len(told), len(windows), residual)


def _filled(picture: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """With the mean in place of what is not valid."""
    return np.where(valid, picture, picture[valid].mean()).astype(np.float64)


def _near(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means around each LR pixel."""
    return np.asarray(gaussian_filter(values, _NEAR_LR, mode="nearest"), np.float64)


def _contrast(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """An LR picture against its surroundings."""
    return picture - _near(picture)


def _gain(wanted: NDArray[np.float64], seen: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The factor that brings `seen` closest to `wanted` around each LR pixel; near zero where there is no contrast."""
    power = _near(seen * seen)
    return _near(wanted * seen) / (power + 0.05 * power[known].mean() + 1e-12)


def _equations(
    down: NDArray[np.float64], right: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The normal equations of one step, reweighted so that large errors, changed ground, have little say."""
    weight = 1 / (1 + np.abs(error) / (1.5 * np.median(np.abs(error)) + 1e-9))
    cross = (weight * down * right).sum()
    normal = np.array([[(weight * down * down).sum(), cross], [cross, (weight * right * right).sum()]])
    return normal, np.array([(weight * down * error).sum(), (weight * right * error).sum()])
