"""Batches: a function of the step, of freely licensed images only, with LR truth that R keeps."""

import dataclasses

import numpy as np
import pytest

from dsdit.errors import RequestError
from dsdit.imagery import FREE_LICENCES, low_band, match_gain_offset, matched_pair, read_pairs, read_singles
from dsdit.sensor import EVALUATION_MTF, decimate
from dsdit.training import degrade
from dsdit.training.config import DataConfig
from dsdit.training.dataset import CropDataset

MIX = {"naipca": 0.6, "single": 0.4}


@pytest.fixture(scope="module")
def scenes(data):
    return read_pairs(data, "train", FREE_LICENCES) + read_singles(data, "train", FREE_LICENCES)


def test_research_images_and_other_splits_are_left_out(data, scenes):
    assert {s.id for s in scenes} == {"naipca-0", "naipca-1", "uav-0", "uav-1"}
    assert {s.id for s in read_pairs(data, "val")} == {"naipca-2", "szt-0"}


def test_a_batch_is_a_function_of_the_step(scenes):
    one, other = (CropDataset(scenes, DataConfig(origins=MIX), 5, 4) for _ in range(2))
    other.batch(0)
    for field in dataclasses.fields(one.batch(3)):
        assert np.array_equal(getattr(one.batch(3), field.name), getattr(other.batch(3), field.name))
    assert not np.array_equal(one.batch(3).hr[:1], one.batch(4).hr[:1])


@pytest.mark.parametrize(("scale", "crop", "count"), [(4, 128, 4), (8, 128, 4), (10, 160, 3), (16, 128, 4)])
def test_crops_fit_scale_and_token(scenes, scale, crop, count):
    batch = CropDataset(scenes, DataConfig(origins=MIX, scales={scale: 1.0}), 0, 4).batch(0)
    assert batch.scale == scale
    assert batch.hr.shape == batch.restored.shape == batch.ref.shape == batch.ref_high_band.shape
    assert batch.hr.shape == (count, 3, crop, crop) and batch.ref_valid.shape == (count, crop, crop)


def test_restored_keeps_what_the_sensor_saw(scenes):
    batch = CropDataset(scenes, DataConfig(origins=MIX, scales={8: 1.0}, darkened=0.0), 0, 8).batch(0)
    error = decimate(batch.restored, 8, EVALUATION_MTF) - decimate(batch.hr, 8, EVALUATION_MTF)
    assert np.abs(error[..., 3:-3, 3:-3]).mean() < 0.02


def test_missing_reference_says_nothing(scenes):
    batch = CropDataset(scenes, DataConfig(origins=MIX, missing_reference=1.0), 0, 16).batch(0)
    assert 0 < batch.ref_valid.mean() < 0.6
    hidden = ~batch.ref_valid[:, None] & np.ones_like(batch.ref, bool)
    assert np.array_equal(batch.ref[hidden], batch.restored[hidden])


def test_gain_and_offset_are_found():
    rng = np.random.default_rng(0)
    lr = rng.uniform(50, 200, (3, 20, 30)).astype(np.float32)
    gain, offset = match_gain_offset((lr - 12) / 1.3, lr)
    assert gain.ravel() == pytest.approx([1.3] * 3, rel=1e-3)
    assert offset.ravel() == pytest.approx([12] * 3, abs=0.1)


def test_matched_pair_shares_the_low_band(data):
    scene = read_pairs(data, "val", FREE_LICENCES)[0]
    hr, ref = matched_pair(scene, 8)
    assert np.allclose(low_band(hr).mean((1, 2)), low_band(ref).mean((1, 2)), atol=1e-3)
    assert np.abs(low_band(hr) - low_band(ref)).mean() < 0.02


def test_turns_keep_the_pictures_together():
    rng = np.random.default_rng(3)
    hr = rng.normal(size=(3, 8, 8)).astype(np.float32)
    for _ in range(16):
        a, b, valid = degrade.turn(rng, hr, hr * 2, hr[0] > 0)
        assert np.array_equal(a * 2, b) and np.array_equal(valid, a[0] > 0)


def test_an_origin_without_images_is_named(scenes):
    with pytest.raises(RequestError, match=r"\['s2'\].*naipca"):
        CropDataset(scenes, DataConfig(origins={"s2": 1.0}), 0, 4)
