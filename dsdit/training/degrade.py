"""Augmentation of training windows: light, change, blur, clouds, gaps and orientation.

Pictures are (3, S, S) in 0..1, not clipped; `rng` is the random stream.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]
Values = TypeVar("Values", bound=np.generic)


def relight(rng: np.random.Generator, image: Array) -> Array:
    """A single image as another date would show it: softer or harsher detail, other tones in each band, noise."""
    soft = (
        image + np.roll(image, 1, -1) + np.roll(image, -1, -1) + np.roll(image, 1, -2) + np.roll(image, -1, -2)
    ) / np.float32(5)
    detail = np.float32(rng.uniform(-0.8, 0.5))
    out = np.clip(image + detail * (image - soft), 0, 1)
    gamma = np.exp(rng.normal(0, 0.2, (3, 1, 1))).astype(np.float32)
    toned = out**gamma
    mean = image.mean((1, 2), keepdims=True)
    toned = mean + (toned - toned.mean((1, 2), keepdims=True)) * np.float32(rng.uniform(0.8, 1.2))
    noise = np.float32(rng.uniform(0, 0.03)) * rng.standard_normal(image.shape, np.float32)
    return np.asarray(toned + noise, np.float32)


def paste_change(rng: np.random.Generator, ref: Array, stranger: Array, margin: int) -> Array:
    """Replaces a rectangle of the reference by another place (`stranger`) or by its own mean.

    The middle of the rectangle is within the crop: the picture without its `margin` of at least 32 px.
    """
    size = ref.shape[-1]
    height, width = rng.integers(16, min(65, size - 2 * margin), 2)
    top = int(rng.integers(margin, size - margin) - height // 2)
    left = int(rng.integers(margin, size - margin) - width // 2)
    out = ref.copy()
    box = (slice(None), slice(top, top + height), slice(left, left + width))
    if rng.random() < 0.3:
        out[box] = out[box].mean((1, 2), keepdims=True)
    else:
        out[box] = stranger[box]
    return out


def missing(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """Where the reference is valid (S, S): nowhere (half of the draws), or on one side of a slanted line."""
    if rng.random() < 0.5:
        return np.zeros((size, size), bool)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.asarray(y * np.sin(angle) + x * np.cos(angle) > rng.uniform(-size / 4, size / 4))


def nudge(image: Array, down: float, right: float) -> Array:
    """image(y + down, x + right), both within 0..1, by cubic convolution (Keys 1981, a = -1/2), one axis at a time.

    It takes a tenth of a spline's time. Beyond an edge its last pixel is repeated.
    """
    for axis, t in ((-2, down), (-1, right)):
        taps = (-t / 2 + t**2 - t**3 / 2, 1 - 2.5 * t**2 + 1.5 * t**3, t / 2 + 2 * t**2 - 1.5 * t**3, (t**3 - t**2) / 2)
        width = [(0, 0)] * image.ndim
        width[axis] = (1, 2)
        padded = np.pad(image, width, mode="edge")
        size = image.shape[axis]
        parts = (np.take(padded, range(k, k + size), axis) * np.float32(tap) for k, tap in enumerate(taps))
        image = np.asarray(sum(parts))
    return image


def blur(rng: np.random.Generator, ref: Array) -> Array:
    """The reference through a Gaussian of 0.5 to 2 px."""
    sigma = rng.uniform(0.5, 2.0)
    return np.asarray(gaussian_filter(ref, (0, sigma, sigma), mode="nearest"), np.float32)


def cover_with_clouds(
    rng: np.random.Generator, ref: Array, valid: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.bool_]]:
    """Bright soft blobs over a tenth to six tenths of the reference, each with a shifted shadow.

    In half of the draws `valid` (S, S) leaves out what is clouded or in shadow, as a good mask would; in the others
    the clouds stay unmasked.
    """
    size = ref.shape[-1]
    width = rng.uniform(size / 20, size / 8)
    field = sum(
        share * _unit_variance(gaussian_filter(rng.standard_normal((size, size)), width * part, mode="wrap"))
        for share, part in ((1.0, 1.0), (0.4, 0.4))
    )
    threshold = np.quantile(field, 1 - rng.uniform(0.1, 0.6))
    ramp = np.clip((field - threshold) / rng.uniform(0.6, 1.5), 0, 1)
    feathered = gaussian_filter(ramp, rng.uniform(1.5, 4.0), mode="wrap")
    cloud = np.asarray(rng.uniform(0.6, 1.0) * feathered, np.float32)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 2.0) * width
    shadow = np.roll(cloud, (round(distance * np.sin(angle)), round(distance * np.cos(angle))), (0, 1))
    dark = ref * (1 - np.float32(rng.uniform(0.3, 0.7)) * shadow)
    light = (rng.uniform(0.7, 1.1) + rng.normal(0, 0.02, (3, 1, 1))).astype(np.float32)
    out = dark + cloud * (light - dark)
    return out, valid & (cloud + shadow < 0.05) if rng.random() < 0.5 else valid


def _unit_variance(field: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((field - field.mean()) / field.std(), np.float64)


def expose(rng: np.random.Generator, hr: Array, ref: Array, wide: bool) -> tuple[Array, Array]:
    """One gamma, gain and offset for both dates."""
    if wide:
        gamma, gain, offset = np.exp(rng.normal(0, 0.25)), np.exp(rng.uniform(-1.2, 0.2)), rng.uniform(-0.02, 0.1)
        hr, ref = (np.clip(a, 0, None) ** np.float32(gamma) for a in (hr, ref))
    else:
        gain, offset = np.exp(rng.normal(0, 0.1)), rng.uniform(-0.03, 0.03)
    return hr * np.float32(gain) + np.float32(offset), ref * np.float32(gain) + np.float32(offset)


def mismatch(rng: np.random.Generator, ref: Array) -> Array:
    """A little gain and offset of the reference's own in each band, as an imperfect match leaves them."""
    gain = np.exp(rng.normal(0, 0.08, (3, 1, 1))).astype(np.float32)
    offset = rng.normal(0, 0.01, (3, 1, 1)).astype(np.float32)
    mean = ref.mean((1, 2), keepdims=True)
    return np.asarray(mean + (ref - mean) * gain + offset, np.float32)


def turn(
    rng: np.random.Generator, hr: Array, ref: Array, valid: NDArray[np.bool_]
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """One of the eight turns and flips of a square, the same for all three."""
    quarter, flip = int(rng.integers(4)), rng.random() < 0.5

    def one(a: NDArray[Values]) -> NDArray[Values]:
        a = np.rot90(a, quarter, (-2, -1))
        return a[..., ::-1] if flip else a

    return one(hr), one(ref), one(valid)
