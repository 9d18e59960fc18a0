"""The loop: settings are checked, a resumed run equals an unbroken one, and what it writes can be loaded."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from dsdit.errors import RequestError, WeightsError
from dsdit.imagery import FREE_LICENCES, read_pairs, read_singles
from dsdit.model import load_weights
from dsdit.steps import quality
from dsdit.training import TrainingConfig, read_training_config, train
from dsdit.training.dataset import CropDataset
from dsdit.training.loop import register_scenes
from dsdit.training.trainer import Trainer, block_ratio, draw_sigmas
from dsdit.window import Window
from tests.dsdit.training.tiny import SETTINGS


def training_scenes(data, folder):
    scenes = read_pairs(data, "train", FREE_LICENCES) + read_singles(data, "train", FREE_LICENCES)
    return register_scenes(scenes, folder / "registration.json")


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


@pytest.mark.parametrize(("capability", "used"), [("AVX2", False), ("AVX512", True)])
def test_bfloat16_is_used_where_the_processor_has_it(tmp_path, monkeypatch, capability, used):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert Trainer(TrainingConfig(**{**SETTINGS, "autocast": True}), tmp_path).autocast is used
    assert Trainer(TrainingConfig(**SETTINGS), tmp_path).autocast is False


def test_a_resumed_run_equals_an_unbroken_one(data, tmp_path):
    config = TrainingConfig(**SETTINGS)
    whole = train(config, data, tmp_path / "whole")
    interrupted = Trainer(config, tmp_path / "parts")
    dataset = CropDataset(training_scenes(data, tmp_path), config.data, config.seed, config.batch)
    for step in range(2):
        interrupted.advance(dataset.batch(step))
    interrupted.save()
    parts = train(config, data, tmp_path / "parts", resume=True)
    one, other = load_weights(whole), load_weights(parts)
    assert one.digest == other.digest
    assert one.config.tile_px == 128 and one.config.sensor.scales == (8,)


@pytest.mark.short
def test_two_processes_are_one_of_twice_the_batch(data, tmp_path):
    """Each draws its own batch, and both step along the mean of the two gradients."""
    config = TrainingConfig(**{**SETTINGS, "steps": 2})
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**SETTINGS, "steps": 2}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "dsdit.training", str(tmp_path / "c.yaml"), "--data", str(data), "--out", str(tmp_path / "two")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    dataset = CropDataset(training_scenes(data, tmp_path), config.data, 0, 1)
    one = Trainer(config, tmp_path / "one")
    for step in range(2):
        one.optimizers[0].param_groups[0]["lr"] = one.learning_rate()
        losses = [
            one.loss(dataset.batch(number), torch.Generator().manual_seed(number))
            for number in (2 * step, 2 * step + 1)
        ]
        one.optimizers[0].zero_grad()
        ((losses[0] + losses[1]) / 2).backward()
        torch.nn.utils.clip_grad_norm_(one.network.parameters(), config.gradient_clip)
        one.optimizers[0].step()
        one.step += 1
    two = load_file(tmp_path / "two" / "resume.safetensors")
    for name, value in one.network.state_dict().items():
        assert torch.allclose(value, two[f"network.{name}"], atol=2e-6), name


def test_blocks_in_training_are_those_of_the_mosaic():
    rng = np.random.default_rng(0)
    pictures = rng.normal(0, 1, (1, 3, 64, 96)).astype(np.float32)
    expected = quality.block_ratio(pictures[0], Window(0, 0, 64, 96), 8)
    assert float(block_ratio(torch.from_numpy(pictures), 8)) == pytest.approx(expected, rel=1e-5)


def test_muon_turns_the_matrices_of_the_blocks(data, tmp_path):
    config = TrainingConfig(**{**SETTINGS, "steps": 3}, optimizer="muon")
    whole = train(config, data, tmp_path / "whole")
    parts = Trainer(config, tmp_path / "parts")
    dataset = CropDataset(training_scenes(data, tmp_path), config.data, config.seed, config.batch)
    parts.advance(dataset.batch(0))
    parts.save()
    assert load_weights(train(config, data, tmp_path / "parts", resume=True)).digest == load_weights(whole).digest


def test_a_run_begins_from_the_weights_it_names(data, tmp_path):
    first = train(TrainingConfig(**SETTINGS), data, tmp_path / "first")
    second = Trainer(TrainingConfig(**SETTINGS, start=str(first)), tmp_path / "second")
    stored = load_weights(first).model.network.state_dict()
    assert all(torch.equal(v, stored[k]) for k, v in second.network.state_dict().items())
    other = {**SETTINGS, "network": {**SETTINGS["network"], "depth": 2}, "start": str(first)}
    with pytest.raises(WeightsError, match=r"joint_blocks\.1"):
        Trainer(TrainingConfig(**other), tmp_path / "third")


def test_training_lowers_the_loss_on_one_batch(data, tmp_path):
    config = TrainingConfig(**{**SETTINGS, "steps": 1000}, sigma_one=1.0, learning_rate=3e-3, warmup_steps=1)
    trainer = Trainer(config, tmp_path)
    batch = CropDataset(read_pairs(data, "train", ["clear"]), config.data, 0, 2).batch(0)
    losses = [trainer.advance(batch) for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]
