"""References are made hard on purpose, each way for itself, and the truth is left alone."""

import numpy as np
import pytest

from dsdit.evaluation.pairs import Scene
from dsdit.training import degrade
from dsdit.training.dataset import CropDataset
from tests.dsdit.training.tiny import mild, pair

WAYS = ("wrong_reference", "jitter", "blur", "clouds", "missing_reference")


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(1)
    return [pair(rng, f"naipca-{k}") for k in range(6)]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_changes_the_reference_and_not_the_truth(scenes, way):
    easy = CropDataset(scenes, mild(), 0, 6).batch(2)
    hard = CropDataset(scenes, mild(**{way: 1.0}), 0, 6).batch(2)
    assert np.array_equal(easy.hr, hard.hr) and np.array_equal(easy.restored, hard.restored)
    changed = np.abs(easy.ref - hard.ref).reshape(6, -1)
    assert (changed.max(1) > 0.05).all() and (changed.mean(1) > 1e-4).all()
    assert not np.array_equal(easy.ref_high_band, hard.ref_high_band)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_has_its_share(scenes, way):
    count = 60
    easy = CropDataset(scenes, mild(), 0, count, 32).batch(0).ref.reshape(count, -1)
    some = CropDataset(scenes, mild(**{way: 0.3}), 0, count, 32).batch(0).ref.reshape(count, -1)
    # Where one way is drawn, the mean of a band may change with later draws of the same stream.
    unlike = 1 - np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(easy, some, strict=True)])
    assert 0.08 < (unlike > 0.01).mean() < 0.55


def same_dates(rng, count):
    """Pairs of white texture whose dates are equal: a shift is recovered to the pixel."""
    pictures = [rng.integers(0, 256, (3, 160, 176), dtype=np.uint8) for _ in range(count)]
    return [Scene(f"naipca-{k}", "naipca", "clear", p, p) for k, p in enumerate(pictures)]


def peak(hr, ref):
    """(row, column) of the best correlation over whole shifts, and its value, of two pictures (3, S, S)."""
    a, b = (p - p.mean((1, 2), keepdims=True) for p in (hr, ref))
    product = np.fft.ifft2(np.fft.fft2(b) * np.conj(np.fft.fft2(a))).real.sum(0)
    value = product.max() / np.sqrt((a**2).sum() * (b**2).sum())
    place = np.array(np.unravel_index(product.argmax(), product.shape))
    size = hr.shape[-1]
    return (place + size // 2) % size - size // 2, value


def test_wrong_references_are_elsewhere_beside_or_hold_something_else():
    rng = np.random.default_rng(2)
    batch = CropDataset(same_dates(rng, 24), mild(wrong_reference=1.0), 0, 50).batch(0)
    found = [peak(hr, ref) for hr, ref in zip(batch.hr, batch.ref, strict=True)]
    lengths = np.array([np.hypot(*place) for place, _ in found])
    values = np.array([value for _, value in found])
    elsewhere = (values < 0.2) | (lengths > 12)
    beside, pasted = (values > 0.4) & (lengths > 0) & ~elsewhere, (values > 0.4) & (lengths == 0)
    assert (elsewhere | beside | pasted).all()
    assert values[pasted].mean() < 0.975
    assert lengths[beside].min() > 2 and lengths[beside].max() < 9
    assert [round(float(kind.mean()), 1) for kind in (elsewhere, beside, pasted)] == pytest.approx(
        [0.4, 0.3, 0.3], abs=0.15
    )


def test_jitter_is_up_to_two_pixels_and_fractions_of_one():
    rng = np.random.default_rng(3)
    batch = CropDataset(same_dates(rng, 3), mild(jitter=1.0), 0, 32, 64).batch(0)
    found = [peak(hr, ref) for hr, ref in zip(batch.hr, batch.ref, strict=True)]
    lengths = np.array([np.hypot(*place) for place, _ in found])
    assert lengths.max() <= np.hypot(2, 1) and (lengths >= 1.4).any() and (lengths == 0).any()
    # A whole shift of white texture correlates by its overlap, over 0.9; half a pixel down and right by about 0.8.
    assert min(value for _, value in found) < 0.85


def test_blur_is_of_half_a_pixel_to_two():
    rng = np.random.default_rng(4)
    white = rng.standard_normal((3, 128, 128)).astype(np.float32)
    kept = np.array([degrade.blur(rng, white).var() for _ in range(40)])
    # A Gaussian of deviation s keeps 1 / (4 pi s^2) of white noise, sampled ones a little more.
    assert kept.min() > 0.9 / (4 * np.pi * 2.0**2) and kept.max() < 0.5
    assert kept.max() / kept.min() > 8


def test_pasted_change_is_a_rectangle():
    rng = np.random.default_rng(5)
    ref, stranger = np.zeros((3, 160, 160), np.float32), np.ones((3, 160, 160), np.float32)
    ref[:, ::2] = 0.5
    for _ in range(20):
        changed = (degrade.paste_change(rng, ref, stranger, 32) != ref).any(0)
        rows, cols = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert 15 <= len(rows) <= 64 and 16 <= len(cols) <= 64
        assert changed[32:-32, 32:-32].any()
        assert changed[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].all()


def test_pasted_change_fits_the_smallest_crop():
    rng = np.random.default_rng(6)
    ref = rng.random((3, 96, 96), np.float32)
    assert all((degrade.paste_change(rng, ref, ref + 1, 32) != ref).any() for _ in range(60))


def test_clouds_are_bright_soft_blobs_with_shadows():
    rng = np.random.default_rng(7)
    ground, valid = np.full((3, 160, 160), 0.3, np.float32), np.ones((160, 160), bool)
    masked = 0
    for _ in range(40):
        clouded, left = degrade.cover_with_clouds(rng, ground, valid)
        change = (clouded - ground).mean(0)
        assert change.max() > 0.1 and change.min() < -0.01
        assert 0.03 < (change > 0.02).mean() < 0.75
        steps = max(np.abs(np.diff(change, axis=axis)).max() for axis in (0, 1))
        assert steps < 0.35 * np.ptp(change)
        if not left.all():
            masked += 1
            assert np.abs(change[left]).max() < 0.06 and left.mean() < 0.95
    assert 10 < masked < 30


def test_masked_clouds_are_missing_in_a_batch(scenes):
    batch = CropDataset(scenes, mild(clouds=1.0), 0, 16).batch(0)
    whole = batch.ref_valid.reshape(16, -1).all(1)
    assert 3 < whole.sum() < 13
    hidden = ~batch.ref_valid[:, None] & np.ones_like(batch.ref, bool)
    assert np.array_equal(batch.ref[hidden], batch.restored[hidden])
