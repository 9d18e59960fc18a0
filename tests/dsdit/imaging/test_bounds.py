"""Restoring within bounds: nothing below zero, no ring above what LR shows nearby, LR truth kept, no window matters."""

import numpy as np
import pytest

from dsdit.imaging.bounds import CEILING, reflectance_bounds, restore_within
from dsdit.imaging.sensor import decimate, reach_px, recover, restore

MTF = 0.255
Picture = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def roofs(scale: int = 8, seed: int = 3) -> Picture:
    """Dark ground with small bright roofs, oblong: (3, 40 * scale, 56 * scale) reflectance."""
    rng = np.random.default_rng(seed)
    hr = np.full((3, 40 * scale, 56 * scale), 0.04, np.float32)
    for _ in range(60):
        row, col = rng.integers(0, 38 * scale), rng.integers(0, 54 * scale)
        hr[:, row : row + 3 * scale, col : col + 2 * scale] = rng.uniform(0.2, 0.5, (3, 1, 1))
    return hr + rng.normal(0, 0.002, hr.shape).astype(np.float32)


@pytest.mark.parametrize("scale", [4, 8])
def test_roofs_on_dark_ground_get_no_dark_rings_and_lr_truth_stays(scale: int) -> None:
    hr = roofs(scale)
    lr = decimate(hr, scale, MTF)
    start = recover(lr, scale, MTF)
    plain = restore(start, lr, scale, MTF)
    bounds = reflectance_bounds(lr, scale)
    within = restore_within(start, lr, scale, MTF, bounds)
    assert (plain < 0).mean() > 0.005  # what the bounds are for
    assert within.min() >= 0
    assert (within <= bounds[1]).all()
    assert np.abs(decimate(within, scale, MTF) - lr).mean() < 0.001
    assert ((within - hr) ** 2).mean() < ((plain - hr) ** 2).mean()


def test_the_bounds_are_those_of_the_lr_pixels_near_by() -> None:
    lr = np.full((1, 9, 9), 0.1, np.float32)
    lr[0, 4, 4], lr[0, 0, 8] = 0.5, 0.005
    referenced = np.zeros((18, 18), bool)
    referenced[:, :9] = True
    lower, upper = reflectance_bounds(lr, 2, referenced)
    assert upper[0, 8, 8] == np.inf  # a reference shows what is there
    assert upper[0, 8, 9] == np.float32(0.5) * np.float32(CEILING)
    assert upper[0, 4, 12] == np.float32(0.5) * np.float32(CEILING)  # two LR pixels away
    assert upper[0, 2, 9] == np.float32(0.1) * np.float32(CEILING)  # three LR pixels away
    assert lower[0, 8, 8] == 0 and lower[0, 3, 14] == -np.inf and lower[0, 4, 12] == 0


def test_dark_water_below_zero_is_kept_and_missing_lr_bounds_nothing() -> None:
    lr = np.full((3, 12, 10), -0.003, np.float32)
    lower, upper = reflectance_bounds(lr, 8)
    assert np.isneginf(lower).all() and np.isposinf(upper).all()
    lower, upper = reflectance_bounds(np.full_like(lr, np.nan), 8)
    assert (upper > 1e6).all()


@pytest.mark.parametrize("scale", [4, 8, 16])
@pytest.mark.parametrize("mtf", [0.1, 0.255, 0.5])
def test_no_pixel_depends_on_what_lies_beyond_the_reach(scale: int, mtf: float) -> None:
    hr = roofs(scale)
    lr = decimate(hr, scale, mtf)
    start = hr + np.random.default_rng(1).normal(0, 0.05, hr.shape).astype(np.float32)
    whole = restore_within(start, lr, scale, mtf, reflectance_bounds(lr, scale))
    reach = reach_px(scale, mtf)
    lines, cols = slice(3 * scale, 37 * scale), slice(4 * scale, 52 * scale)
    some = (..., slice(lines.start // scale, lines.stop // scale), slice(cols.start // scale, cols.stop // scale))
    part = restore_within(start[..., lines, cols], lr[some], scale, mtf, reflectance_bounds(lr[some], scale))
    inner = (..., slice(reach, -reach), slice(reach, -reach))
    assert part[inner].size
    assert (whole[..., lines, cols][inner] == part[inner]).all()
