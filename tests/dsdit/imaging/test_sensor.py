"""The operator A: its MTF, its adjointness to the grid, the reach of restoring, and independence of the window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsdit.imaging.sensor import (
    EVALUATION_MTF,
    decimate,
    gaussian_sigma_px,
    high_band,
    reach_px,
    restore,
    restored_lr,
    upsample,
)


@pytest.mark.parametrize("scale", [4, 8, 10, 16])
@pytest.mark.parametrize("mtf", [0.1, 0.25, 0.4])
def test_mtf_at_the_nyquist_frequency_is_the_stated_one(scale: int, mtf: float) -> None:
    n = 64 * scale
    x = np.arange(n) + 0.5
    wave = np.cos(np.pi * x / scale + np.pi / 4)
    lr = decimate(np.broadcast_to(wave, (n, n)).astype(np.float32), scale, mtf)
    amplitude = np.abs(lr[32, 16:48]).max() / np.cos(np.pi / 4)
    assert amplitude == pytest.approx(mtf, rel=0.04)


def test_sigma_of_the_evaluation_operator() -> None:
    assert gaussian_sigma_px(EVALUATION_MTF, 8) == pytest.approx(3.447, abs=1e-3)


@pytest.mark.parametrize("mtf", [0.0, 0.64, 1.2, -1.0])
def test_an_mtf_that_no_sensor_has_is_refused(mtf: float) -> None:
    with pytest.raises(ValueError, match="mtf_nyquist"):
        gaussian_sigma_px(mtf, 8)


@pytest.mark.parametrize("scale", [4, 8, 10, 16])
def test_a_plane_comes_back_without_a_shift(scale: int) -> None:
    y, x = np.mgrid[: 40 * scale, : 24 * scale].astype(np.float32)
    plane = 0.001 * x + 0.002 * y
    lr = decimate(plane, scale, EVALUATION_MTF)
    inner = (slice(8 * scale, -8 * scale), slice(8 * scale, -8 * scale))
    np.testing.assert_allclose(upsample(lr, scale)[inner], plane[inner], atol=2e-5)


def test_restoring_brings_the_truth_of_lr_back() -> None:
    rng = np.random.default_rng(1)
    hr = upsample(rng.uniform(0, 0.4, (3, 30, 20)).astype(np.float32), 8)
    lr = decimate(hr, 8, EVALUATION_MTF)
    errors = [
        np.abs(decimate(restored_lr(lr, 8, EVALUATION_MTF, k), 8, EVALUATION_MTF) - lr).mean() for k in (0, 1, 3, 6)
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[2] < errors[0] / 3


def test_restoring_corrects_nothing_where_lr_is_not_valid() -> None:
    rng = np.random.default_rng(2)
    hr = rng.uniform(0, 0.4, (3, 160, 160)).astype(np.float32)
    lr = rng.uniform(0, 0.4, (3, 20, 20)).astype(np.float32)
    lr[:, :, 12:] = np.nan
    valid = np.isfinite(lr[0])
    out = restore(hr, lr, 8, EVALUATION_MTF, valid=valid)
    assert np.isfinite(out).all()
    untouched = restore(hr, lr, 8, EVALUATION_MTF, valid=np.zeros_like(valid))
    np.testing.assert_array_equal(untouched, hr)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([4, 8, 10]), st.integers(0, 9), st.integers(0, 9), st.integers(0, 2**31))
def test_what_lies_beyond_the_reach_changes_no_bit(scale: int, top: int, left: int, seed: int) -> None:
    lr = np.random.default_rng(seed).uniform(0, 0.5, (3, 64, 60)).astype(np.float32)
    whole = restored_lr(lr, scale, EVALUATION_MTF)
    r = reach_px(scale, EVALUATION_MTF) // scale
    part = restored_lr(lr[:, top : top + 2 * r + 14, left : left + 2 * r + 9], scale, EVALUATION_MTF)
    rows, cols = slice((top + r) * scale, (top + r + 14) * scale), slice((left + r) * scale, (left + r + 9) * scale)
    inner = part[:, r * scale : (r + 14) * scale, r * scale : (r + 9) * scale]
    np.testing.assert_array_equal(whole[:, rows, cols], inner)


def test_the_high_band_is_what_a_does_not_see() -> None:
    hr = np.random.default_rng(3).uniform(0, 0.4, (3, 256, 192)).astype(np.float32)
    resolved = decimate(high_band(hr, 8, EVALUATION_MTF), 8, EVALUATION_MTF)
    assert np.abs(resolved[:, 6:-6, 6:-6]).mean() < 0.1 * np.abs(decimate(hr, 8, EVALUATION_MTF) - 0.2).mean()


def test_a_shape_that_is_no_multiple_of_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of scale"):
        decimate(np.zeros((3, 17, 16), np.float32), 8, 0.25)
