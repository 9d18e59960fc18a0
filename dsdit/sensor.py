"""The sensor operator A and what follows from it: decimation, upsampling and the restoring of LR truth.

A is a Gaussian followed by the mean over scale x scale HR pixels. The two together have the band's MTF at the LR
Nyquist frequency; that is the number a source states. Training, the mosaic step and evaluation use this one module.

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

BOX_MTF = 2.0 / math.pi
"""MTF at the LR Nyquist frequency of a square LR pixel: sinc(1/2)."""
EVALUATION_MTF = 0.4 * BOX_MTF
"""MTF at the LR Nyquist frequency in evaluation: Gaussian 0.4, with the pixel about 0.25."""
RESTORE_STEP = 1.8
"""Step of back-projection; measured: 1.0 is slower, 3.0 diverges."""
RESTORE_ITERATIONS = 3
"""Iterations of back-projection, before the network and after it."""
_TRUNCATE = 3.5
_CUBIC = -0.5


def gaussian_sigma_px(mtf_nyquist: float, scale: int) -> float:
    """Standard deviation of A's Gaussian for a total `mtf_nyquist`: sigma = (scale/pi) sqrt(-2 ln(mtf / sinc(1/2)))."""
    gaussian = mtf_nyquist / BOX_MTF
    if not 0.0 < gaussian < 1.0:
        raise ValueError(
            f"mtf_nyquist is {mtf_nyquist}: it must lie between 0 and {BOX_MTF:.3f}, the MTF of the pixel alone"
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
def _upsampling_taps(scale: int) -> tuple[tuple[int, tuple[np.float32, ...]], ...]:
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


def _upsample_axis(values: Array, axis: int, scale: int) -> Array:
    n = values.shape[axis]
    padded = _pad(values, axis, 2, 2)
    shape = list(values.shape)
    shape[axis] = n * scale
    out = np.empty(shape, np.float32)
    for phase, (first, taps) in enumerate(_upsampling_taps(scale)):
        total: Array | None = None
        for k, tap in enumerate(taps):
            start = 2 + first + k
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


def upsample(lr: Array, scale: int) -> Array:
    """Cubic convolution (Keys 1981, a = -1/2) without a shift: (..., h, w) -> (..., h * scale, w * scale)."""
    return _upsample_axis(_upsample_axis(np.asarray(lr, np.float32), -1, scale), -2, scale)


def restore(
    hr: Array,
    lr: Array,
    scale: int,
    mtf_nyquist: float,
    iterations: int = RESTORE_ITERATIONS,
    valid: NDArray[np.bool_] | None = None,
) -> Array:
    """Back-projection (Irani and Peleg 1991): hr <- hr + step * upsample(lr - A(hr)), `iterations` times.

    `valid` (h, w) is True where `lr` is to be believed; elsewhere nothing is corrected. Returns a new array.
    """
    out = np.asarray(hr, np.float32)
    for _ in range(iterations):
        error = lr - decimate(out, scale, mtf_nyquist)
        if valid is not None:
            error = np.where(valid, error, np.float32(0))
        out = out + upsample(error, scale) * np.float32(RESTORE_STEP)
    return out


def bicubic_restored(lr: Array, scale: int, mtf_nyquist: float, iterations: int = RESTORE_ITERATIONS) -> Array:
    """The smooth picture R that A turns back into `lr`: what is known before any reference speaks."""
    return restore(upsample(lr, scale), lr, scale, mtf_nyquist, iterations)


def high_band(hr: Array, scale: int, mtf_nyquist: float, iterations: int = RESTORE_ITERATIONS) -> Array:
    """What of `hr` the sensor cannot see: hr minus the restored upsampling of A(hr)."""
    return hr - bicubic_restored(decimate(hr, scale, mtf_nyquist), scale, mtf_nyquist, iterations)


def reach_px(scale: int, mtf_nyquist: float, iterations: int = RESTORE_ITERATIONS) -> int:
    """Distance in HR pixels over which upsampling and restoring carry a change, rounded up to a multiple of scale."""
    first, _ = _decimation_taps(mtf_nyquist, scale)
    reach = 2 * scale + iterations * (2 * scale - first)
    return math.ceil(reach / scale) * scale
