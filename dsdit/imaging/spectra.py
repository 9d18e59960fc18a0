"""Power spectra of LR scenes in rings of radial frequency: measured from blocks, or expected of ground in general.

Spectra are taken over blocks of `BLOCK_PX` LR pixels with sine tapers (Riedel and Sidorenko 1995). Frequencies are in
cycles an LR pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsdit.imaging.sensor import BOX_MTF, decimate

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

BLOCK_PX = 32
"""Side of the blocks, in LR pixels."""
SIMULATED = (0.10, 0.18, 0.30, 0.45, 0.635)
"""MTFs at the LR Nyquist frequency for which sensors are simulated; the pixel alone has 2 / pi = 0.6366."""
MIDDLE = 2
"""Of `SIMULATED` the one whose shift and coherence with LR are measured."""
RINGS = np.array([0.08, 0.14, 0.20, 0.26, 0.32, 0.38, 0.44, 0.50])
"""Edges of the rings."""
GROUND_SLOPE = 2.3
"""Exponent of the power spectrum of ground (Field 1987)."""
_TAPERS = 3
_NOISE_FACTOR = 4.0
_ALIASES = 2
_FINER = 4


@dataclass(frozen=True)
class Spectra:
    """Mean power in each ring, block by block, of one or more windows of an LR scene."""

    lr: Floats
    """(block, ring) power of LR."""
    simulated: Floats
    """(block, MTF, ring) power of the reference as sensors of `SIMULATED` see it; no MTF where there is none."""
    cross: Floats
    """(block, ring) cross power of LR and the reference, after their shift; zeros where there is none."""

    def coherence(self) -> Floats:
        """(ring,) share of LR's power that a linear relation with the reference explains."""
        cross, own, other = (x.sum(0) for x in (self.cross, self.lr, self.simulated[:, MIDDLE]))
        return np.asarray((np.maximum(cross, 0) ** 2 / (own * other)).clip(0, 1), np.float64)


def measure_spectra(
    lr: Array,
    ref: Array | None,
    scale: int,
    valid: NDArray[np.bool_] | None = None,
    noise: float = 0.0,
    margin_px: int = 0,
) -> Spectra:
    """Spectra of LR (band, h, w) and its reference (band, h * scale, w * scale), bands averaged.

    `valid` (h, w) is True for LR pixels that are clear in both: a block needs all of its own. `noise` is the standard
    deviation of LR's noise; blocks whose power in the outermost ring is under four times that of the noise are left
    out. So are `margin_px` LR pixels along the edge, where the simulated picture lacks what is outside.
    """
    lr = lr.mean(0, dtype=np.float32)
    known = np.ones(lr.shape, bool) if valid is None else valid
    pictures = [] if ref is None else [decimate(_filled(ref), scale, mtf) for mtf in SIMULATED]
    own, simulated, cross = [], [], []
    for y in _starts(lr.shape[0], margin_px):
        for x in _starts(lr.shape[1], margin_px):
            block = (slice(y, y + BLOCK_PX), slice(x, x + BLOCK_PX))
            if not known[block].all():
                continue
            spectrum, *others = (_spectrum(picture[block]) for picture in (lr, *pictures))
            power, *powers = (_ringed(_power(each, each)) for each in (spectrum, *others))
            if not min(p.min() for p in (power, *powers)) > 0 or power[-1] < _NOISE_FACTOR * noise**2:
                continue
            own.append(power)
            simulated.append(powers)
            cross.append(_aligned_power(spectrum, others[MIDDLE]) if others else np.zeros_like(power))
    return Spectra(
        np.array(own).reshape(-1, _COUNT),
        np.array(simulated).reshape(len(own), len(pictures), _COUNT),
        np.array(cross).reshape(-1, _COUNT),
    )


def joined(spectra: Sequence[Spectra]) -> Spectra:
    """Those of several windows as one."""
    return Spectra(*(np.concatenate([getattr(s, name) for s in spectra]) for name in ("lr", "simulated", "cross")))


def ground_power(mtf: float, through: Callable[[Floats, Floats], Floats] | None = None) -> Floats:
    """(ring,) log power of ground of the usual slope, sampled by a sensor of this MTF, aliases and tapers included.

    `through` (fy, fx) is the |transfer|^2 of what is done to LR afterwards.
    """
    total = np.zeros((_FINER * BLOCK_PX, _FINER * BLOCK_PX))
    own = np.asarray(np.fft.fftfreq(_FINER * BLOCK_PX), np.float64)
    own_y, own_x = own[:, None], own[None]
    for ky in range(-_ALIASES, _ALIASES + 1):
        for kx in range(-_ALIASES, _ALIASES + 1):
            fy, fx = own_y + ky, own_x + kx
            radius = np.hypot(fy, fx)
            # Below a cycle a block nothing is left once its plane is removed.
            ground = np.where(radius > 1 / BLOCK_PX, radius, np.inf) ** -GROUND_SLOPE
            # The Gaussian has mtf / BOX_MTF at half a cycle a pixel, the pixel itself sinc(f).
            total += ground * (np.sinc(fy) * np.sinc(fx) * (mtf / BOX_MTF) ** (4 * (fy**2 + fx**2))) ** 2
    if through is not None:
        total = total * through(own_y, own_x)
    # A periodogram expects the spectrum convolved with that of its tapers.
    blurred = np.fft.ifft2(np.fft.fft2(total) * _LAGS).real
    return np.log(_ringed(blurred[::_FINER, ::_FINER]))


def _filled(ref: Array) -> Array:
    """Bands averaged, with the mean where nothing is known: such pixels are not `valid` in LR."""
    grey = ref.mean(0, dtype=np.float32)
    finite = np.isfinite(grey)
    return np.where(finite, grey, np.float32(grey[finite].mean() if finite.any() else 0))


def _starts(size: int, margin_px: int) -> list[int]:
    """First pixels of blocks that overlap by half at least and reach from margin to margin."""
    room = size - 2 * margin_px - BLOCK_PX
    if room < 0:
        return []
    count = 1 + math.ceil(2 * room / BLOCK_PX)
    return [margin_px + round(room * k / max(count - 1, 1)) for k in range(count)]


def _spectrum(block: Array) -> NDArray[np.complex128]:
    """(taper, fy, fx) of a block without its plane."""
    values = np.asarray(block, np.float64)
    rest = values - (_PLANE @ (_FIT_PLANE @ values.ravel())).reshape(values.shape)
    return np.asarray(np.fft.fft2(rest * _TAPER), np.complex128)


def _power(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> Floats:
    return np.asarray((a * b.conj()).real.mean(0), np.float64)


def _ringed(power: Floats) -> Floats:
    """Means over the rings, (ring,), of (fy, fx)."""
    return np.asarray(np.bincount(_RING[_IN_RING], power[_IN_RING]) / (2 * MODES), np.float64)


def _aligned_power(lr: NDArray[np.complex128], other: NDArray[np.complex128]) -> Floats:
    """(ring,) cross power after the shift between the two, up to 2 pixels, that their phases show."""
    cross = (lr * other.conj()).mean(0)
    low = (_RADIUS > 0.03) & (_RADIUS < 0.35)
    peak = np.fft.fftshift(np.fft.ifft2(cross * low).real)
    middle = BLOCK_PX // 2
    near = peak[middle - 2 : middle + 3, middle - 2 : middle + 3]
    shift_px = np.array(np.unravel_index(int(near.argmax()), near.shape), np.float64) - 2
    for _ in range(6):
        phase = np.angle(cross * np.exp(2j * np.pi * (_FY * shift_px[0] + _FX * shift_px[1])))
        weight = np.abs(cross) * low * np.cos(phase).clip(0)
        mixed = (weight * _FY * _FX).sum()
        normal = np.array([[(weight * _FY * _FY).sum(), mixed], [mixed, (weight * _FX * _FX).sum()]])
        pull = -np.array([(weight * _FY * phase).sum(), (weight * _FX * phase).sum()]) / (2 * np.pi)
        shift_px = shift_px + np.linalg.lstsq(normal, pull, rcond=1e-9)[0]
    return _ringed((cross * np.exp(2j * np.pi * (_FY * shift_px[0] + _FX * shift_px[1]))).real)


def _lags() -> NDArray[np.complex128]:
    """Fourier transform of the mean power of the tapers, on the finer frequencies."""
    power = (np.abs(np.fft.fft2(_TAPER, (_FINER * BLOCK_PX, _FINER * BLOCK_PX))) ** 2).mean(0)
    return np.asarray(np.fft.fft2(power / power.sum()), np.complex128)


_FY, _FX = np.fft.fftfreq(BLOCK_PX)[:, None], np.fft.fftfreq(BLOCK_PX)[None]
_RADIUS = np.hypot(_FY, _FX)
_COUNT = len(RINGS) - 1
_RING = np.digitize(_RADIUS, RINGS) - 1
_IN_RING = np.isin(_RING, np.arange(_COUNT))
MODES = np.asarray(np.bincount(_RING[_IN_RING]) / 2, np.float64)
"""(ring,) frequencies of a block, each with its opposite counted once."""
LOG_FREQUENCY = np.log(np.bincount(_RING[_IN_RING], _RADIUS[_IN_RING]) / (2 * MODES))
"""(ring,) of the mean frequency."""
_PLACES = np.pi * (np.arange(BLOCK_PX) + 1) / (BLOCK_PX + 1)
_SINES = [np.sin((k + 1) * _PLACES) for k in range(_TAPERS)]
_TAPER = np.stack([np.outer(a, b) for a in _SINES for b in _SINES]) * (2 / (BLOCK_PX + 1))
_ROWS, _COLS = (axis.ravel() - (BLOCK_PX - 1) / 2 for axis in np.mgrid[:BLOCK_PX, :BLOCK_PX])
_PLANE = np.stack([np.ones(BLOCK_PX**2), _ROWS, _COLS], 1)
_FIT_PLANE = np.linalg.pinv(_PLANE)
_LAGS = _lags()
