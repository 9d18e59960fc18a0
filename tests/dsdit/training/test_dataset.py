"""Batches: a function of the step, of freely licensed images only, with LR truth that R keeps."""

import dataclasses

import numpy as np
import pytest

from dsdit.errors import RequestError
from dsdit.evaluation.pairs import (
    FREE_LICENCES,
    Scene,
    low_band,
    match_gain_offset,
    matched_pair,
    read_pairs,
    read_singles,
)
from dsdit.imaging.sensor import EVALUATION_MTF, decimate, restored_lr
from dsdit.training import TrainingConfig, degrade
from dsdit.training import dataset as dataset_module
from dsdit.training.config import TOKEN_PX, DataConfig
from dsdit.training.dataset import CropDataset, margin_px
from dsdit.training.trainer import Trainer
from tests.dsdit.training.tiny import SETTINGS, mild, pair

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


@pytest.mark.parametrize("scale", range(4, 17))
def test_crops_fit_scale_and_token(scenes, scale):
    batch = CropDataset(scenes, DataConfig(origins=MIX, scales={scale: 1.0}), 0, 4).batch(0)
    assert batch.scale == scale
    assert batch.hr.shape == batch.restored.shape == batch.ref.shape == batch.ref_high_band.shape
    count, _, crop, width = batch.hr.shape
    assert crop == width == {4: 128, 8: 128, 10: 160, 15: 240, 16: 128}.get(scale, crop)
    assert crop % scale == crop % TOKEN_PX == 0 and 128 <= crop <= 240
    assert batch.ref_valid.shape == (count, crop, crop)
    assert 0.6 < count * crop**2 / (4 * 128**2) < 1.5
    assert margin_px(scale) % scale == 0 and margin_px(scale) >= 32
    # Made on the LR grid that begins with the crop: R has LR's truth.
    known = decimate(batch.hr, scale, batch.mtf_nyquist) - decimate(batch.restored, scale, batch.mtf_nyquist)
    assert np.abs(known[..., 2:-2, 2:-2]).mean() < 0.02


def test_token_px_is_that_of_the_network(tmp_path):
    assert Trainer(TrainingConfig(**SETTINGS), tmp_path).model.token_px == TOKEN_PX


def test_the_sensor_is_drawn_around_the_sources(scenes, monkeypatch):
    monkeypatch.setattr(dataset_module, "NOISE", 0.0)
    dataset = CropDataset(scenes, mild(origins=MIX), 0, 1)
    batches = [dataset.batch(step) for step in range(24)]
    drawn = {batch.mtf_nyquist / EVALUATION_MTF for batch in batches}
    assert min(drawn) == pytest.approx(0.75) and max(drawn) == pytest.approx(1.3) and len(drawn) == 5

    def error(batch, mtf):
        again = restored_lr(decimate(batch.hr, 8, mtf), 8, mtf)
        return np.abs(batch.restored - again)[..., 40:-40, 40:-40].mean()

    for batch in batches[:6]:  # R was computed with the MTF of the batch
        others = [f * EVALUATION_MTF for f in (0.75, 1.3) if abs(f * EVALUATION_MTF - batch.mtf_nyquist) > 0.05]
        assert all(3 * error(batch, batch.mtf_nyquist) < error(batch, other) for other in others)


def test_lr_is_noisy(scenes, monkeypatch):
    noisy = CropDataset(scenes, mild(origins=MIX), 0, 24, 96).batch(0)
    monkeypatch.setattr(dataset_module, "NOISE", 0.0)
    clean = CropDataset(scenes, mild(origins=MIX), 0, 24, 96).batch(0)
    assert np.array_equal(noisy.hr, clean.hr)
    noise = decimate(noisy.restored - clean.restored, 8, clean.mtf_nyquist)[..., 2:-2, 2:-2].std((1, 2, 3))
    assert 0 < noise.min() < 0.0015 and 0.0035 < noise.max() < 0.0075


def test_crops_are_off_the_8_px_grid_of_jpeg_files():
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 256, (3, 30, 32)), np.ones((1, 8, 8))).astype(np.uint8)
    scene = Scene("naipca-0", "naipca", "clear", blocks, None)
    hr = CropDataset([scene], mild(), 0, 60, 32).batch(0).hr
    for axis in (-2, -1):
        edges = np.abs(np.diff(hr, axis=axis)).mean((1, 5 - (axis % 4)))
        crops = np.bincount(edges[:, :8].argmax(1), minlength=8)
        assert crops.min() > 0 and crops.max() < 20  # of 60, turned: half of them show the other axis


def test_streams_of_other_seeds_and_crops_are_others(scenes):
    batch = CropDataset(scenes, mild(origins=MIX), 0, 8).batch(0)
    assert len({crop.tobytes() for crop in batch.hr}) == 8
    assert not np.array_equal(batch.hr, CropDataset(scenes, mild(origins=MIX), 1, 8).batch(0).hr)


def test_restored_keeps_what_the_sensor_saw(scenes):
    batch = CropDataset(scenes, DataConfig(origins=MIX, scales={8: 1.0}, darkened=0.0), 0, 8).batch(0)
    error = decimate(batch.restored, 8, EVALUATION_MTF) - decimate(batch.hr, 8, EVALUATION_MTF)
    assert np.abs(error[..., 3:-3, 3:-3]).mean() < 0.02


def test_missing_reference_has_no_influence(scenes):
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
    with pytest.raises(RequestError, match="at least 512 px"):
        CropDataset(scenes, DataConfig(origins=MIX), 0, 4, 512)


def test_an_asterisk_means_the_pairs_that_are_not_named():
    rng = np.random.default_rng(0)
    scenes = [pair(rng, name) for name in ("farm_1", "farm_2", "naipca-0")]
    dataset = CropDataset(scenes, mild(origins={"*": 1.0, "naipca": 0.0}), 0, 4)
    alone = CropDataset(scenes[:2], mild(origins={"*": 1.0}), 0, 4)
    assert np.array_equal(dataset.batch(0).hr, alone.batch(0).hr)
