"""The loop: settings are checked, a resumed run equals an unbroken one, and what it writes can be loaded."""

from pathlib import Path

import pytest
import torch
import yaml

from dsdit.errors import RequestError
from dsdit.imagery import read_pairs
from dsdit.model import load_weights
from dsdit.training import TrainingConfig, read_training_config, train
from dsdit.training.dataset import CropDataset
from dsdit.training.trainer import Trainer, draw_sigmas

SETTINGS = {
    "network": {"depth": 1, "hidden_size": 32, "num_heads": 1, "pos_embed_max_size": 20},
    "data": {"origins": {"naipca": 1.0}, "scales": {8: 1.0}},
    "batch": 2,
    "steps": 4,
    "autocast": False,
}


def test_the_shipped_recipe_is_valid():
    root = Path(__file__).parents[3]
    config = read_training_config(root / "infra" / "training" / "dsdit-tiny.yaml")
    assert config.name == "dsdit-tiny" and config.steps is None
    assert read_training_config(root / "infra" / "training" / "dsdit-tiny.yaml", minutes=2).minutes == 2


@pytest.mark.parametrize(
    ("change", "word"), [({"surprise": 1}, "surprise"), ({"minutes": 5}, "exactly one"), ({"batch": 0}, "batch")]
)
def test_settings_are_checked(tmp_path, change, word):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**SETTINGS, **change}))
    with pytest.raises(RequestError, match=word):
        read_training_config(tmp_path / "c.yaml")


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(RequestError, match="manifest"):
        train(TrainingConfig(**SETTINGS), tmp_path, tmp_path / "out")


def test_sigmas_have_their_share_at_one():
    config = TrainingConfig(**SETTINGS, sigma_one=0.6)
    sigma = draw_sigmas(config, 4000, torch.Generator().manual_seed(0))
    assert float((sigma == 1).float().mean()) == pytest.approx(0.6, abs=0.03)
    assert sigma.min() > 0
    assert 0.65 < float(sigma[sigma < 1].median()) < 0.8


def test_a_resumed_run_equals_an_unbroken_one(data, tmp_path):
    config = TrainingConfig(**SETTINGS)
    whole = train(config, data, tmp_path / "whole")
    interrupted = Trainer(config, tmp_path / "parts")
    dataset = CropDataset(read_pairs(data, "train", ["clear"]), config.data, config.seed, config.batch)
    for step in range(2):
        interrupted.advance(dataset.batch(step))
    interrupted.save()
    parts = train(config, data, tmp_path / "parts", resume=True)
    one, other = load_weights(whole), load_weights(parts)
    assert one.digest == other.digest
    assert one.config.tile_px == 128 and one.config.sensor.scales == (8,)


def test_training_lowers_the_loss_on_one_batch(data, tmp_path):
    config = TrainingConfig(**{**SETTINGS, "steps": 1000}, sigma_one=1.0, learning_rate=3e-3, warmup_steps=1)
    trainer = Trainer(config, tmp_path)
    batch = CropDataset(read_pairs(data, "train", ["clear"]), config.data, 0, 2).batch(0)
    losses = [trainer.advance(batch) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
