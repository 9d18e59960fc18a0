"""Correctness by the package and by ourselves, and LPIPS where its parts are at hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dsdit.evaluation import perceptual
from dsdit.evaluation.correctness import SHARES, correctness_note, own_shares, package, package_shares, shares
from dsdit.evaluation.metrics import METRICS, Truth
from dsdit.imaging.sensor import EVALUATION_MTF, decimate, restored_lr


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    perceptual.open_lpips.cache_clear()
    yield tmp_path / "hub/checkpoints"
    perceptual.open_lpips.cache_clear()


def pictures():
    """Truth, its low band and a picture between them with faults of its own, (48, 64, 3) in [0, 1]."""
    rng = np.random.default_rng(0)
    hr = np.clip(gaussian_filter(rng.normal(0.5, 1, (48, 64, 3)), (1, 1, 0)), 0.02, 1)
    smooth = gaussian_filter(hr, (4, 4, 0))
    sr = np.clip(smooth + 0.6 * (hr - smooth) + rng.normal(0, 0.05, hr.shape), 0, 1)
    return [values.astype(np.float32) for values in (hr, smooth, sr)]


@pytest.mark.parametrize("of", [shares, own_shares])
@pytest.mark.parametrize("kind", SHARES)
def test_correctness_names_what_happened(kind, of):
    rng = np.random.default_rng(0)
    smooth = np.full((32, 32, 3), 0.5, np.float32)
    hr = smooth + rng.uniform(-0.3, 0.3, (32, 32, 1)).astype(np.float32)
    sr = {"improvement": hr, "omission": smooth, "hallucination": 2 * smooth - hr}[kind]
    found = dict(zip(SHARES, np.nanmean(of(sr, hr, smooth), (1, 2)), strict=True))
    assert max(found, key=found.__getitem__) == kind
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)


def test_shares_of_one_pixel_by_hand():
    """Grey of 0.5 where the truth is 0.6; a picture of 0.65 adds 0.15 and misses by 0.05."""
    smooth, hr, sr = (np.full((2, 2, 3), value, np.float32) for value in (0.5, 0.6, 0.65))
    between, wrong, new = 0.1 / 1.1, 0.05 / 1.25, 0.15 / 1.15
    im, om = wrong / between, new / between
    beyond = 1 - np.exp(-0.05 * (im + om - 1))
    distance = np.array([im + om * beyond, om + im * beyond, np.exp(-0.05 * im * om)])
    weight = np.exp(-distance / 0.25)
    assert own_shares(sr, hr, smooth)[:, 0, 0] == pytest.approx(weight / weight.sum(), abs=1e-4)


def test_ours_are_the_packages():
    found = package()
    if found is None:
        pytest.skip("opensr-test is not installed")
    hr, smooth, sr = pictures()
    for picture in (sr, hr, smooth, smooth[::-1].copy()):
        theirs, ours = package_shares(found, picture, hr, smooth), own_shares(picture, hr, smooth)
        assert np.array_equal(np.isnan(theirs), np.isnan(ours))
        assert np.nanmax(np.abs(theirs - ours)) < 1e-3
    assert "computed by opensr-test" in correctness_note()


def test_without_the_weights_lpips_is_left_out_and_noted(cache):
    hr, _, sr = pictures()
    assert perceptual.lpips_map(sr, hr) is None
    note = perceptual.lpips_note()
    assert note is not None and str(cache) in note and perceptual.WEIGHTS_URL in note and "dsdit[quality]" in note
    assert not cache.exists()


def test_lpips_is_a_column_where_its_weights_are_stored(cache):
    pytest.importorskip("lpips", exc_type=(ImportError, RuntimeError))
    from torchvision.models import alexnet

    cache.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), perceptual.weights_file())
    perceptual.open_lpips.cache_clear()
    hr, smooth, sr = pictures()
    assert perceptual.lpips_note() is None
    near, far, same = (perceptual.lpips_map(picture, hr) for picture in (sr, smooth, hr))
    assert near.shape == (48, 64) and not same.any() and 0 < near.mean() < far.mean()
    scaled = (hr * 2 - 1).transpose(2, 0, 1)
    lr = decimate(scaled, 8, EVALUATION_MTF)
    truth = Truth(scaled, lr, restored_lr(lr, 8, EVALUATION_MTF), 8, 0.4)
    figures = truth.measure(scaled * 0.5, {"all": np.ones((48, 64), bool)})["all"]
    assert set(figures) == {*METRICS, "lpips"} and figures["lpips"] > 0
