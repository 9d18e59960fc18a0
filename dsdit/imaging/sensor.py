"""The sensor operator A and what follows from it: decimation, upsampling, recovery and the restoring of LR.

A is a Gaussian followed by the mean over scale x scale HR pixels. The two together have the band's MTF at the LR
Nyquist frequency; that is the number a source states. Training, the mosaic step and evaluation use this one module.

`recover` is an approximate inverse: of all pictures that A turns into `lr`, about the one of least curvature, along y
and x separately. That is x = L^-1 A^T (A L^-1 A^T)^-1 lr with L = |frequency|^4 (minimum-norm interpolation; Unser
1999), its inverse damped near the LR Nyquist frequency so that noise is not amplified without bound, and cut to a few
LR pixels. Unlike an upsampled and then corrected picture it shows no lattice of LR pixels.

Everything is separable and written as sums of strided slices in a fixed order: elementwise IEEE operations and no
BLAS. A result therefore depends on the pixels within its reach and not on the shape of the array around them, which
is what makes a mosaic independent of its shards, bit for bit.

Arrays are (..., y, x), float32. Lengths are in HR pixels unless the name says otherwise.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_Phases = tuple[tuple[int, tuple[np.float32, ...]], ...]

BOX_MTF = 2.0 / math.pi
"""MTF at the LR Nyquist frequency of a square LR pixel: sinc(1/2)."""
EVALUATION_MTF = 0.4 * BOX_MTF
"""MTF at the LR Nyquist frequency in evaluation: Gaussian 0.4, with the pixel about 0.25."""
RESTORE_ITERATIONS = 1
"""Iterations of restoring, before the network and after it."""
RECOVERY_REACH_LR = 5
"""LR pixels on either side that `recover` looks at."""
_TRUNCATE = 3.5
"""Radius of the Gaussian's taps, in standard deviations."""
_CUBIC = -0.5
"""Parameter a of cubic convolution (Keys 1981)."""
_CURVATURE = 4
"""Exponent of the frequency in L: 4 penalises the square of second derivatives."""
_DAMPING = 0.5
"""Share of the response at the LR Nyquist frequency that is added before it is inverted."""
_RING = 96
"""LR pixels of the ring on which taps of `recover` are computed: much more than its reach."""
_TAP_UNIT = 2.0**-22
"""Taps of `recover` are multiples of it."""


def gaussian_sigma_px(mtf_nyquist: float, scale: int) -> float:
    """Standard deviation of A's Gaussian for a total `mtf_nyquist`: sigma = (scale/pi) sqrt(-2 ln(mtf / sinc(1/2)))."""
    gaussian = mtf_nyquist / BOX_MTF
    if not 0.0 < gaussian < 1.0:
        raise ValueError(
            f"mtf_nyquist is {mtf_nyquist}: it must be between 0 and {BOX_MTF:.3f}, the MTF of the pixel alone"
        )
    return scale / math.pi * math.sqrt(-2.0 * math.log(gaussian))


@lru_cache(maxsize=64)
def _decimation_taps(mtf_nyquist: float, scale: int) -> tuple[int, tuple[np.float32, ...]]:
    """(first, taps): LR pixel r is the sum over k of taps[k] * hr[r * scale + first + k]."""
    sigma = gaussian_sigma_px(mtf_nyquist, scale)
    radius = math.ceil(_TRUNCATE * sigma)
    k = np.arange(-radius, radius + 1, dtype=np.float64)
    gaussian = np.exp(-0.5 * (k / sigma) ** 2)
    taps = np.convolve(gaussian / gaussian.sum(), np.full(scale, 1.0 / scale))
    return -radius, tuple(np.float32(t) for t in taps)


@lru_cache(maxsize=64)
def _upsampling_taps(scale: int) -> _Phases:
    """Per phase p: (first, 4 taps) of cubic convolution; HR r * scale + p sums taps[k] * lr[r + first + k]."""
    phases = []
    for phase in range(scale):
        position = (phase + 0.5) / scale - 0.5
        first = math.floor(position) - 1
        distance = np.abs(position - (first + np.arange(4)))
        near = (_CUBIC + 2) * distance**3 - (_CUBIC + 3) * distance**2 + 1
        far = _CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
        phases.append((first, tuple(np.float32(w) for w in weight / weight.sum())))
    return tuple(phases)


@lru_cache(maxsize=64)
def _recovery_taps(mtf_nyquist: float, scale: int) -> _Phases:
    """Per phase p: (first, taps) of `recover`; HR r * scale + p sums taps[k] * lr[r + first + k].

    Found on a ring of LR pixels by FFT, faded to zero at its reach, rounded so that no machine's FFT shows in it.
    """
    size = _RING * scale
    first, decimation = _decimation_taps(mtf_nyquist, scale)
    # A before decimation, as a convolution on the ring of HR pixels.
    impulse = np.zeros(size)
    np.add.at(impulse, (first + np.arange(len(decimation))) % size, np.asarray(decimation, np.float64))
    transfer = np.conj(np.fft.fft(impulse))
    frequency = np.abs(np.fft.fftfreq(size)) * scale
    # L^-1; the small constant replaces 0, so that it can be inverted too.
    smoothness = 1.0 / (frequency**_CURVATURE + (0.05 / _RING) ** _CURVATURE)
    # A L^-1 A^T on LR pixels: decimation folds the `scale` copies of the spectrum onto each other.
    folded = (smoothness * np.abs(transfer) ** 2).reshape(scale, _RING).sum(0) / scale
    damped = np.tile(folded + _DAMPING * folded[_RING // 2], scale)
    response = np.fft.ifft(smoothness * np.conj(transfer) / damped).real
    offsets = np.arange(-RECOVERY_REACH_LR, RECOVERY_REACH_LR + 1)
    phases = []
    for phase in range(scale):
        distance = (phase + 0.5) / scale - 0.5 - offsets  # from the HR pixel to the LR pixels' centres
        fade = np.sqrt(np.cos(np.pi / 2 * np.clip(distance / RECOVERY_REACH_LR, -1, 1)).clip(0))
        taps = response[(phase - offsets * scale) % size] * fade
        taps = np.round(taps / taps.sum() / _TAP_UNIT) * _TAP_UNIT
        phases.append((-RECOVERY_REACH_LR, tuple(np.float32(t) for t in taps)))
    return tuple(phases)


def _pad(values: Array, axis: int, before: int, after: int) -> Array:
    width = [(0, 0)] * values.ndim
    width[axis] = (before, after)
    return np.pad(values, width, mode="edge")


def _along(axis: int, index: slice) -> tuple[Any, ...]:
    return (..., index, slice(None)) if axis == -2 else (..., index)


def _decimate_axis(values: Array, axis: int, scale: int, mtf_nyquist: float) -> Array:
    first, taps = _decimation_taps(mtf_nyquist, scale)
    n = values.shape[axis] // scale
    before, after = -first, len(taps) + first - scale
    padded = _pad(values, axis, before, after)
    total: Array | None = None
    for k, tap in enumerate(taps):
        term = padded[_along(axis, slice(k, k + (n - 1) * scale + 1, scale))] * tap
        total = term if total is None else np.add(total, term, out=total)
    assert total is not None
    return total


def _interpolate_axis(values: Array, axis: int, phases: _Phases) -> Array:
    n, scale = values.shape[axis], len(phases)
    margin = max(max(-first, first + len(taps) - 1) for first, taps in phases)
    padded = _pad(values, axis, margin, margin)
    shape = list(values.shape)
    shape[axis] = n * scale
    out = np.empty(shape, np.float32)
    for phase, (first, taps) in enumerate(phases):
        total: Array | None = None
        for k, tap in enumerate(taps):
            start = margin + first + k
            term = padded[_along(axis, slice(start, start + n))] * tap
            total = term if total is None else np.add(total, term, out=total)
        out[_along(axis, slice(phase, None, scale))] = total
    return out


def decimate(hr: Array, scale: int, mtf_nyquist: float) -> Array:
    """A: (..., H, W) at HR -> (..., H/scale, W/scale) at LR. Edges are continued by their last pixel.

    Raises ValueError where H or W is no multiple of `scale`.
    """
    if hr.shape[-1] % scale or hr.shape[-2] % scale:
        raise ValueError(f"shape {hr.shape[-2:]} is not a multiple of scale {scale}")
    return _decimate_axis(_decimate_axis(np.asarray(hr, np.float32), -2, scale, mtf_nyquist), -1, scale, mtf_nyquist)


def _interpolate(lr: Array, phases: _Phases) -> Array:
    return _interpolate_axis(_interpolate_axis(np.asarray(lr, np.float32), -1, phases), -2, phases)


def upsample(lr: Array, scale: int) -> Array:
    """Cubic convolution (Keys 1981, a = -1/2) without a shift: (..., h, w) -> (..., h * scale, w * scale)."""
    return _interpolate(lr, _upsampling_taps(scale))


def recover(lr: Array, scale: int, mtf_nyquist: float) -> Array:
    """The smooth picture that A turns into `lr`, approximately: (..., h, w) -> (..., h * scale, w * scale)."""
    return _interpolate(lr, _recovery_taps(mtf_nyquist, scale))


def restore(
    hr: Array,
    lr: Array,
    scale: int,
    mtf_nyquist: float,
    iterations: int = RESTORE_ITERATIONS,
    valid: NDArray[np.bool_] | None = None,
) -> Array:
    """Back-projection (Irani and Peleg 1991): hr <- hr + recover(lr - A(hr)), `iterations` times.

    `valid` (h, w) is True where `lr` can be used; elsewhere nothing is corrected. Returns a new array.
    """
    out = np.asarray(hr, np.float32)
    for _ in range(iterations):
        error = lr - decimate(out, scale, mtf_nyquist)
        if valid is not None:
            error = np.where(valid, error, np.float32(0))
        out = out + recover(error, scale, mtf_nyquist)
    return out


def restored_lr(lr: Array, scale: int, mtf_nyquist: float, iterations: int = RESTORE_ITERATIONS) -> Array:
    """The smooth picture R that A turns back into `lr`: what is known without any reference."""
    return restore(recover(lr, scale, mtf_nyquist), lr, scale, mtf_nyquist, iterations)


def high_band(hr: Array, scale: int, mtf_nyquist: float, iterations: int = RESTORE_ITERATIONS) -> Array:
    """The part of `hr` that the sensor does not resolve: hr minus R of A(hr)."""
    return hr - restored_lr(decimate(hr, scale, mtf_nyquist), scale, mtf_nyquist, iterations)


def reach_px(scale: int, mtf_nyquist: float, iterations: int = RESTORE_ITERATIONS) -> int:
    """Distance in HR pixels over which recovering and restoring carry a change, rounded up to a multiple of scale."""
    first, _ = _decimation_taps(mtf_nyquist, scale)
    recovery = RECOVERY_REACH_LR * scale
    reach = recovery + iterations * (recovery - first)
    return math.ceil(reach / scale) * scale
