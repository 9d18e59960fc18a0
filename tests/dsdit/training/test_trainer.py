"""The loop: settings are checked, a resumed run equals an unbroken one, and what it writes can be loaded."""

import dataclasses
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from dsdit.errors import RequestError, WeightsError
from dsdit.evaluation.pairs import FREE_LICENCES, read_pairs, read_singles
from dsdit.model import load_weights
from dsdit.training import TrainingConfig, train
from dsdit.training.dataset import CropDataset
from dsdit.training.reading import register_scenes
from dsdit.training.trainer import Trainer, block_ratio, draw_ref_scales, draw_sigmas
from dsdit.window import Window
from tests.dsdit.training.tiny import SETTINGS, mild, pair
from tests.support import quality


def training_scenes(data, folder):
    scenes = read_pairs(data, "train", FREE_LICENCES) + read_singles(data, "train", FREE_LICENCES)
    return register_scenes(scenes, folder / "registration.json")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RequestError, match="pairs does not exist"):
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
    other = {**SETTINGS, "network": {**SETTINGS["network"], "hidden_size": 64}, "start": str(first)}
    with pytest.raises(WeightsError, match=r"joint_blocks\.0"):
        Trainer(TrainingConfig(**other), tmp_path / "third")


@pytest.mark.parametrize(("depth", "places"), [(2, (0, 1)), (3, (0, 2)), (6, (0, 5))])
def test_a_deeper_run_begins_as_the_weights_it_names(data, tmp_path, depth, places):
    """The blocks that are new change nothing at first, and all of them learn."""
    two = {**SETTINGS, "network": {**SETTINGS["network"], "depth": 2}, "steps": 40, "learning_rate": 1e-3}
    first = train(TrainingConfig(**two), data, tmp_path / "first")
    deeper = {**two, "network": {**two["network"], "depth": depth}, "start": str(first)}
    trainer = Trainer(TrainingConfig(**deeper), tmp_path / "deeper")
    stored = load_weights(first).model
    for old, new in enumerate(places):
        blocks = stored.network.joint_blocks[old], trainer.network.joint_blocks[new]
        assert all(torch.equal(a, b) for a, b in zip(*(b.state_dict().values() for b in blocks), strict=True))
    dataset = CropDataset(training_scenes(data, tmp_path), trainer.config.data, 0, 2)
    batch = dataset.batch(0)
    conditions = trainer.model.conditions(batch.restored, batch.ref, batch.ref_valid, batch.ref_high_band, batch.scale)
    z = torch.randn(2, *trainer.model.latent_shape(*batch.hr.shape[-2:]))
    with torch.no_grad():
        expected = stored.denoise(z, 0.7, conditions).x0
        assert torch.equal(trainer.model.denoise(z, 0.7, conditions).x0, expected)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    for step in range(3):
        trainer.advance(dataset.batch(step))
    learnt = {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in learnt if name.startswith("joint_blocks.")} == {*map(str, range(depth))}
    shallower = {**two, "network": {**two["network"], "depth": 1}, "start": str(first)}
    with pytest.raises(WeightsError, match=r"joint_blocks\.1"):
        Trainer(TrainingConfig(**shallower), tmp_path / "shallower")


def test_blocks_learn_what_a_head_alone_cannot(tmp_path):
    """The reference is shifted 2 px to the right in one crop and to the left in another: each needs its own kernel."""
    settings = {"sigma_one": 1.0, "ref_scale_drop": 0.0, "learning_rate": 3e-3, "warmup_steps": 1}
    config = TrainingConfig(**{**SETTINGS, "steps": 1000, **settings})
    rng = np.random.default_rng(0)
    batch = CropDataset([pair(rng, "naipca-0"), pair(rng, "naipca-1")], mild(), 0, 2).batch(0)

    def beside(pictures):
        return np.stack([np.roll(pictures[0], 2, -1), np.roll(pictures[1], -2, -1)])

    batch = dataclasses.replace(batch, ref=beside(batch.hr), ref_high_band=beside(batch.hr - batch.restored))

    def train_on_it(name, learns):
        trainer = Trainer(config, tmp_path / name)
        for parameter, tensor in trainer.network.named_parameters():
            tensor.requires_grad_(learns(parameter))
        before = {k: v.detach().clone() for k, v in trainer.network.named_parameters()}
        losses = [trainer.advance(batch) for _ in range(35)]
        moved = {k for k, v in trainer.network.named_parameters() if not torch.equal(v, before[k])}
        return losses[-1] / losses[0], moved, set(before)

    ratio, moved, names = train_on_it("all", lambda name: True)
    assert ratio < 0.15
    assert {n for n in names if ".attn." in n or ".weighting." in n} <= moved
    assert any("weighting.zero_proj" in n for n in moved)
    assert train_on_it("head", lambda name: name.startswith("final_layer"))[0] > 0.4


@pytest.mark.parametrize("drop", [0.0, 0.3, 1.0])
def test_the_share_of_ref_scale_that_is_dropped(drop):
    scales = draw_ref_scales(TrainingConfig(**SETTINGS, ref_scale_drop=drop), 4000, torch.Generator().manual_seed(0))
    assert set(scales.unique().tolist()) <= {0.0, 1.0}
    assert float((scales == 0).float().mean()) == pytest.approx(drop, abs=0.03)


def test_a_dropped_reference_has_no_influence(tmp_path):
    rng = np.random.default_rng(0)
    batch = CropDataset([pair(rng, "naipca-0")], mild(), 0, 2).batch(0)
    other = dataclasses.replace(batch, ref_high_band=-batch.ref_high_band)
    for drop, has_influence in ((0.0, True), (1.0, False)):
        trainer = Trainer(TrainingConfig(**SETTINGS, ref_scale_drop=drop), tmp_path)
        losses = [float(trainer.loss(b, torch.Generator().manual_seed(0)).detach()) for b in (batch, other)]
        assert (losses[0] != losses[1]) is has_influence


def test_the_average_is_that_of_its_formula(tmp_path):
    """theta_0 prod d_j + sum theta_k (1 - d_k) prod_{j > k} d_j, with d_k = min(ema, (1 + k) / (10 + k))."""
    rng = np.random.default_rng(0)
    batch = CropDataset([pair(rng, "naipca-0")], mild(), 0, 1).batch(0)
    trainer = Trainer(TrainingConfig(**{**SETTINGS, "steps": 1000}, ema=0.25, warmup_steps=1), tmp_path)
    name = "final_layer.linear.weight"
    states = [trainer.network.state_dict()[name].clone()]
    for _ in range(4):
        trainer.advance(batch)
        states.append(trainer.network.state_dict()[name].clone())
    decays = [min(0.25, (1 + k) / (10 + k)) for k in range(1, 5)]
    assert decays[0] < 0.2 and decays[-1] == 0.25
    expected = states[0] * math.prod(decays)
    for k, decay in enumerate(decays):
        expected = expected + states[k + 1] * (1 - decay) * math.prod(decays[k + 1 :])
    assert (states[4] - states[3]).abs().max() > 1e-4
    assert torch.allclose(trainer.average[name], expected, atol=1e-7)
