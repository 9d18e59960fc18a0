"""The MTF of a sensor at the LR Nyquist frequency, measured from its pictures.

`decimate` turns a reference into what a sensor of one MTF sees. The MTF is looked for under which that has LR's power
spectrum, up to a factor: power, and not the picture itself, because a fit of A(reference) to LR takes all that differs
between two dates, and every misregistration, for blur. The regression of LR on the simulated picture errs to low
values, that of the simulated picture on LR to high ones (errors in variables); the ratio of the two power spectra is
their geometric mean, and does not depend on where things are. What is left is that two dates may differ in the slope
of their spectra. This difference is a free parameter with a prior, wide where the two agree little, and sets most of
the interval. Without a reference the ground's spectrum is a power law of a slope that is known roughly: one place is a
weak witness.

The constants were chosen on the training pairs of `evaluation.pairs`, by the likelihood of the true MTF, with families
of images weighted alike.

LR that was read by cubic convolution off its own pixels has lost MTF: see `after_cubic`. Estimates are those of the
sensor where `offsets_px` states how LR was read. White noise raises them: blocks whose detail is not well above
the noise are left out of the spectra.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.interpolate import CubicSpline

from dsdit.imaging.cubic import ON_PIXELS, Offset, cubic_power
from dsdit.imaging.sensor import BOX_MTF
from dsdit.imaging.spectra import LOG_FREQUENCY, MODES, SIMULATED, Floats, Spectra, ground_power

LEVEL = 0.9
"""Share of the cases in which the interval holds the true value."""
WIDEST = {"reference": 0.35, "spectrum": 0.4}
"""Widest interval of an estimate that is given."""
LEAST_COHERENCE = 0.1
"""Coherence below 0.2 cycles an LR pixel under which LR and reference do not show the same ground."""
_FINE = np.linspace(SIMULATED[0], SIMULATED[-1], 108)
_OVERLAP = 2.0
"""Variance of a log power times the number of frequencies in it: those of tapers and neighbours overlap."""
_BLOCK_GAIN = 0.2
"""What one more block adds, as a share of the first one: blocks overlap and resemble each other."""
_SLOPE_PAIR = 0.3
"""Standard deviation of the difference in spectral slope of two dates that do not agree at all."""
_FLOOR_PAIR = 0.03
_SLOPE_ALONE = 0.7
"""Standard deviation of the slope of the ground's spectrum."""
_FLOOR_ALONE = 0.12
"""Standard deviation of a ring's log power around the power law; `_FLOOR_PAIR` that of two dates' difference."""

Method = Literal["reference", "spectrum"]


@dataclass(frozen=True)
class MtfEstimate:
    """MTF at the LR Nyquist frequency, along y and x alike."""

    value: float
    low: float
    """The interval from `low` to `high` holds the true value in about `LEVEL` of the cases."""
    high: float
    n: int
    """Blocks that it was measured on."""
    method: Method
    """Against a reference, or from LR's spectrum alone."""

    def __contains__(self, mtf: float) -> bool:
        return self.low <= mtf <= self.high


def estimate_by_reference(spectra: Spectra, offsets_px: tuple[Offset, ...] = ON_PIXELS) -> MtfEstimate | None:
    """The MTF under which the reference, as the sensor sees it, has LR's spectrum.

    `offsets_px` is how far off its own pixels LR was read by cubic convolution; that is corrected. None where it
    cannot be measured: no block, a reference that shows other ground, an interval above `WIDEST`.
    """
    blocks = len(spectra.lr)
    if not blocks or not spectra.simulated.shape[1]:
        return None
    coherence = spectra.coherence()
    if coherence[:2].mean() < LEAST_COHERENCE:
        return None
    agreement = min(float(np.average(coherence, weights=MODES)), 0.98)
    ratio = np.log(spectra.lr[:, None] / spectra.simulated).mean(0) - (_ground(offsets_px) - _ground())
    variance = 2 * (1 - agreement) / _frequencies(blocks) + _FLOOR_PAIR**2
    return _estimate(ratio, variance, _SLOPE_PAIR * math.sqrt(1 - agreement), blocks, "reference")


def estimate_alone(spectra: Spectra, offsets_px: tuple[Offset, ...] = ON_PIXELS) -> MtfEstimate | None:
    """The MTF under which ground of a usual spectrum gets LR's spectrum; `offsets_px` as in `estimate_by_reference`.

    None where it cannot be measured.
    """
    blocks = len(spectra.lr)
    if not blocks:
        return None
    ratio = np.log(spectra.lr).mean(0) - _ground(offsets_px)
    return _estimate(ratio, 1 / _frequencies(blocks) + _FLOOR_ALONE**2, _SLOPE_ALONE, blocks, "spectrum")


def middle_of(estimates: Sequence[MtfEstimate]) -> MtfEstimate | None:
    """One estimate for all that is measured of a source: medians of the values and of the ends of the intervals.

    Of estimates against a reference alone, where there are any. The interval does not shrink with their number: places
    of one region resemble each other.
    """
    best = [e for e in estimates if e.method == "reference"] or list(estimates)
    if not best:
        return None
    value, low, high = (round(float(np.median([getattr(e, k) for e in best])), 4) for k in ("value", "low", "high"))
    return MtfEstimate(value, low, high, sum(e.n for e in best), best[0].method)


def after_cubic(mtf: float, offsets_px: tuple[Offset, ...]) -> float:
    """The MTF that LR of a sensor of `mtf` acts like, once cubic convolution has read it off its own pixels.

    For ground of a usual spectrum. It is not what is left at the Nyquist frequency itself (nothing, at half a pixel)
    but the number under which A fits best from 0.08 cycles a pixel up to there. Staging reads LR in this way wherever
    its pixels are not those of the grid.
    """
    found = _estimate(_ground(offsets_px, mtf) - _ground(), np.ones_like(MODES), 0.0, 1, "spectrum", math.inf)
    assert found is not None
    return found.value


@lru_cache(maxsize=64)
def _ground(offsets_px: tuple[Offset, ...] = ON_PIXELS, mtf: float | None = None) -> Floats:
    """(MTF, ring) log power of usual ground for every simulated MTF, or of (1, ring) for `mtf`, read at an offset."""

    def cubic(fy: Floats, fx: Floats) -> Floats:
        return cubic_power(fy, fx, offsets_px)

    return np.stack([ground_power(each, cubic) for each in (SIMULATED if mtf is None else (mtf,))])


def _frequencies(blocks: int) -> Floats:
    """(ring,) independent frequencies."""
    return MODES * (1 + _BLOCK_GAIN * (blocks - 1)) / _OVERLAP


def _estimate(
    ratio: Floats, variance: Floats, slope: float, blocks: int, method: Method, widest: float | None = None
) -> MtfEstimate | None:
    """The simulated MTF under which `ratio` (MTF, ring), log powers of LR over simulated ones, is most nearly flat.

    A ring errs by `variance`, and all of them by a slope over log frequency of standard deviation `slope`; the factor
    is free. Both are eliminated from the likelihood, which is widened where even the best MTF does not fit.
    """
    covariance = np.diag(variance) + slope**2 * np.outer(LOG_FREQUENCY, LOG_FREQUENCY)
    inverse = np.linalg.inv(covariance)
    ones = inverse.sum(1)
    inverse = inverse - np.outer(ones, ones) / ones.sum()
    # Log power is nearly linear in log MTF: the Gaussian's exponent is log(MTF) times the frequency squared.
    ratio = CubicSpline(np.log(SIMULATED), ratio)(np.log(_FINE))
    misfit = np.einsum("mb,bc,mc->m", ratio, inverse, ratio)
    misfit = misfit / max(1.0, misfit.min() / (len(MODES) - 2))
    likelihood = np.exp(-0.5 * (misfit - misfit.min()))
    likelihood /= likelihood.sum()
    order = np.argsort(-likelihood, kind="stable")
    inside = _FINE[order[: int(np.searchsorted(np.cumsum(likelihood[order]), LEVEL)) + 1]]
    low, high = float(inside.min()), float(inside.max())
    if high - low > (WIDEST[method] if widest is None else widest):
        return None
    high = BOX_MTF if high >= SIMULATED[-1] else high
    return MtfEstimate(round(float(_FINE[misfit.argmin()]), 4), round(low, 4), round(high, 4), blocks, method)
