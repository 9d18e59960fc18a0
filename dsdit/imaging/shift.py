"""Registration of a reference to an LR scene: one shift, estimated from LR alone.

Both pictures, averaged over their bands, are reduced to what the LR sensor resolves, and one shift between the two is
estimated by least squares on their gradients (Lucas and Kanade 1981), reweighted so that changed ground counts little.
LR pixels are wide, but many of them agree on one shift, so that it is known to a fraction of an HR pixel. A shift is
accepted where the two pictures correlate well after it, and better than before.

Pictures are (band, y, x); shifts are in HR pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, map_coordinates, shift, uniform_filter

from dsdit.imaging.cubic import ON_PIXELS, Offset, read_through_cubic
from dsdit.imaging.sensor import decimate, gaussian_sigma_px, restored_lr

Array = NDArray[np.float32]
LIMIT_LR = 0.6
"""Largest shift that `measure_shift` accepts, in LR pixels."""
AGREEMENT = 0.5
"""Least correlation, after the shift, with which it is accepted."""
SEARCH_LR = 2
"""Largest shift that `search_shift` looks for, in LR pixels."""
WINDOW_AGREEMENT = 0.75
"""Least agreement, under a local gain, with which one window's shift is accepted."""
LEAST_SHARE = 0.25
"""Share of a pair's windows whose shifts must be accepted."""
WINDOW_ERROR_LR = 0.06
"""Error of one window's accepted shift where ground has changed, in LR pixels."""
SPREAD_LR = 0.25
"""Median distance of a pair's windows from their common shift above which there is no common shift, in LR pixels."""
LEAST_MOVE_PX = 0.2
"""Shorter shifts, in HR pixels, are not corrected, nor are those shorter than their error: resampling costs detail."""
_ITERATIONS = 4
"""Gauss-Newton steps of `measure_shift`."""
_FLATTEN_LR = 4.0
"""Standard deviation of the Gaussian that is subtracted before pictures are compared, in LR pixels."""
_MARGIN_LR = 2
"""LR pixels along the edges that are not compared: restored values there depend on continued edges."""
_STIFF = 1e6
"""Condition number of the normal equations above which a picture has no structure along some direction."""
_NEAR_LR = 1.5
"""Standard deviation of local means and gains, in LR pixels."""
_EDGE_LR = SEARCH_LR + 2
"""LR pixels around invalid ones that are not compared, as a shifted reference would read them."""
_ROUNDS = 12
_SETTLED_PX = 0.02
"""A search has converged once its step is shorter, in HR pixels."""
_LEAST_LR_PX = 256
"""Fewest LR pixels to compare."""


@dataclass(frozen=True)
class Shift:
    """The reference at (y + dy, x + dx) shows what LR shows at (y, x)."""

    dy: float
    """HR pixels downwards."""
    dx: float
    """HR pixels to the right."""
    agreement: float
    """Correlation of both as the LR sensor sees them, after the shift."""

    @property
    def none(self) -> bool:
        """True where there is nothing to correct."""
        return self.dy == 0 and self.dx == 0


def moved(picture: Array, dy: float, dx: float) -> Array:
    """picture(y + dy, x + dx) by cubic splines; edges are continued by their last pixel."""
    return np.asarray(shift(picture, (0, -dy, -dx), order=3, mode="nearest"), np.float32)


def _flat(picture: Array, sigma_px: float) -> NDArray[np.float64]:
    """The picture without slow changes of brightness, in which two dates differ."""
    return np.asarray(picture - gaussian_filter(picture, (0, sigma_px, sigma_px)), np.float64)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-12))


def measure_shift(lr: Array, ref: Array, scale: int, mtf_nyquist: float) -> Shift:
    """Shift between LR (band, h, w) and reference (band, h * scale, w * scale), which have the same radiometry.

    (0, 0) where no shift is accepted, and where the pictures are too small.
    """
    lr, ref = lr.mean(0, keepdims=True), ref.mean(0, keepdims=True)
    margin = _MARGIN_LR * scale
    if min(lr.shape[1:]) < 4 * _MARGIN_LR:
        return Shift(0.0, 0.0, 0.0)
    # Every second HR pixel is enough: both pictures are blurred over a whole LR pixel.
    inner = (slice(None), slice(margin, -margin, 2), slice(margin, -margin, 2))
    sigma = _FLATTEN_LR * scale
    wanted = _flat(restored_lr(lr, scale, mtf_nyquist), sigma)[inner]
    offset = np.zeros(2)
    agreements = []
    for step in range(_ITERATIONS + 1):
        at = ref if not offset.any() else moved(ref, *offset)
        sensed = _flat(restored_lr(decimate(at, scale, mtf_nyquist), scale, mtf_nyquist), sigma)
        down, right = np.gradient(sensed, axis=1)[inner], np.gradient(sensed, axis=2)[inner]
        error = wanted - sensed[inner]
        agreements.append(_correlation(wanted, sensed[inner]))
        if step == _ITERATIONS:
            break
        normal, pull = _equations(down, right, error)
        if np.linalg.cond(normal) > _STIFF:
            return Shift(0.0, 0.0, agreements[0])
        offset = offset + np.linalg.solve(normal, pull)
        if np.abs(offset).max() > LIMIT_LR * scale:
            return Shift(0.0, 0.0, agreements[0])
    if agreements[-1] < max(AGREEMENT, agreements[0]):
        return Shift(0.0, 0.0, agreements[0])
    return Shift(float(offset[0]), float(offset[1]), agreements[-1])


@dataclass(frozen=True)
class PairShift:
    """One shift for a pair of scenes, from several windows of their overlap. In HR pixels, as `Shift`."""

    dy: float = 0.0
    dx: float = 0.0
    agreement: float = 0.0
    """Median over the windows whose shifts were accepted; over all windows where none was."""
    windows: int = 0
    """Windows with an accepted shift; 0 where there is no common shift."""
    seen: int = 0
    """Windows that were clear enough to be compared. The name is that of stored measures."""
    residual: float = 0.0
    """Median distance of the accepted windows' shifts from the common one: what a correction leaves."""

    @property
    def accepted(self) -> bool:
        """Whether there is a common shift."""
        return self.windows > 0

    def doubt(self, scale: int) -> float:
        """Estimated error of the shift, in HR pixels: of a window, or their spread, over the root of their number."""
        return max(self.residual, WINDOW_ERROR_LR * scale) / math.sqrt(max(self.windows, 1))

    def worth_moving(self, scale: int) -> bool:
        """True where the shift is known and longer than `LEAST_MOVE_PX` and than its own error."""
        return self.accepted and math.hypot(self.dy, self.dx) >= max(LEAST_MOVE_PX, self.doubt(scale))


def search_shift(
    lr: Array,
    ref: Array,
    scale: int,
    mtf_nyquist: float,
    valid: NDArray[np.bool_] | None = None,
    offsets_px: tuple[Offset, ...] = ON_PIXELS,
) -> tuple[Shift, bool] | None:
    """(shift, accepted) of LR (band, h, w) and reference (band, h * scale, w * scale), up to `SEARCH_LR` LR pixels.

    The reference is blurred once as the LR sensor sees it, then sampled at the centres of LR pixels plus the shift:
    first on a raster of half LR pixels, then by Gauss-Newton steps from the best of them. Gain and offset are local,
    even in sign, since fields that ripened keep their edges. `valid` (h, w) is True for LR pixels that are clear in
    both. `offsets_px` is how far off its own pixels LR was read by cubic convolution, which delays high frequencies
    by up to a tenth of an LR pixel: the reference is read in the same way. None where too few pixels are clear.
    """
    valid = np.ones(lr.shape[1:], bool) if valid is None else valid
    known = binary_erosion(valid, iterations=_EDGE_LR, border_value=0)
    if known.sum() < _LEAST_LR_PX:
        return None
    wanted = _contrast(_filled(lr.mean(0, dtype=np.float64), valid))
    blur = _filled(ref.mean(0, dtype=np.float64), np.repeat(np.repeat(valid, scale, 0), scale, 1))
    blur = gaussian_filter(blur, gaussian_sigma_px(mtf_nyquist, scale), mode="nearest")
    blur = read_through_cubic(uniform_filter(blur, scale, mode="nearest"), scale, offsets_px)
    slopes = np.asarray(np.gradient(blur), np.float64)
    rows, cols = np.meshgrid(*(np.arange(n) * scale + scale // 2 for n in lr.shape[1:]), indexing="ij")

    def look(values: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.float64]:
        at = (rows + offset[0], cols + offset[1])
        return _contrast(np.asarray(map_coordinates(values, at, order=1, mode="nearest"), np.float64))

    def agreement(offset: NDArray[np.float64]) -> float:
        sensed = look(blur, offset)
        explained = (_gain(wanted, sensed, known) * sensed * wanted)[known].sum()
        return float(np.sqrt(max(explained, 0.0) / max((wanted[known] ** 2).sum(), 1e-12)))

    # The raster: ties, by agreements rounded so that every machine finds the same, go to the shorter shift.
    steps = np.arange(-2 * SEARCH_LR, 2 * SEARCH_LR + 1) * scale / 2
    starts = [np.array([dy, dx]) for dy in steps for dx in steps]
    start = max(starts, key=lambda offset: (round(agreement(offset), 9), -float(np.hypot(*offset))))
    offset, settled = start, False
    for _ in range(_ROUNDS):
        sensed = look(blur, offset)
        gain = _gain(wanted, sensed, known)
        down, right = ((gain * look(slope, offset))[known] for slope in slopes)
        error = (wanted - gain * sensed)[known]
        normal, pull = _equations(down, right, error)
        if not np.linalg.cond(normal) < _STIFF:
            break
        step = np.linalg.solve(normal, pull)
        offset = offset + step
        if np.abs(offset).max() > (SEARCH_LR + 0.5) * scale:
            break
        if np.abs(step).max() < _SETTLED_PX:
            settled = True
            break
    found = agreement(offset if settled else start)
    # The raster's best may agree a little better by chance, hence the slack.
    accepted = settled and found >= max(WINDOW_AGREEMENT, agreement(start) - 0.01)
    return Shift(float(offset[0]), float(offset[1]), found) if accepted else Shift(0.0, 0.0, found), accepted


def common_shift(windows: list[tuple[Shift, bool]], scale: int) -> PairShift:
    """The median of the windows' accepted shifts; none where they are few or differ too much."""
    if not windows:
        return PairShift()
    accepted = [shift for shift, is_accepted in windows if is_accepted]
    if not accepted or len(accepted) < LEAST_SHARE * len(windows):
        return PairShift(agreement=float(np.median([shift.agreement for shift, _ in windows])), seen=len(windows))
    dy, dx = (float(np.median([getattr(shift, axis) for shift in accepted])) for axis in ("dy", "dx"))
    agreement = float(np.median([shift.agreement for shift in accepted]))
    residual = float(np.median([np.hypot(shift.dy - dy, shift.dx - dx) for shift in accepted]))
    if residual > SPREAD_LR * scale:
        return PairShift(agreement=agreement, seen=len(windows), residual=residual)
    return PairShift(dy, dx, agreement, len(accepted), len(windows), residual)


def _filled(picture: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The picture with the mean of valid pixels where it is not valid."""
    return np.where(valid, picture, picture[valid].mean()).astype(np.float64)


def _near(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Local means around each LR pixel."""
    return np.asarray(gaussian_filter(values, _NEAR_LR, mode="nearest"), np.float64)


def _contrast(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """An LR picture minus its local means."""
    return picture - _near(picture)


def _gain(wanted: NDArray[np.float64], sensed: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The local factor that brings `sensed` closest to `wanted`; near zero where there is no contrast."""
    power = _near(sensed * sensed)
    gain: NDArray[np.float64] = _near(wanted * sensed) / (power + 0.05 * power[known].mean() + 1e-12)
    return gain


def _equations(
    down: NDArray[np.float64], right: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normal equations (2, 2), (2,) of one step; weights fall with the error, so that changed ground counts little."""
    weight = 1 / (1 + np.abs(error) / (1.5 * np.median(np.abs(error)) + 1e-9))
    cross = (weight * down * right).sum()
    normal = np.array([[(weight * down * down).sum(), cross], [cross, (weight * right * right).sum()]])
    return normal, np.array([(weight * down * error).sum(), (weight * right * error).sum()])
