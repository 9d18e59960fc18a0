"""The published model in its wrapper: what goes into the network, and sampler and evaluation over it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from dsdit.errors import WeightsError
from dsdit.evaluation.case import make_case
from dsdit.evaluation.pairs import Scene
from dsdit.model import DSDiTConfig
from dsdit.model.autoencoder_files import SD3_CONFIG
from dsdit.model.importing import import_weights
from dsdit.model.published import PublishedConditions, PublishedModel
from dsdit.model.weights import Weights, load_weights, meta_network
from dsdit.plan.sampler_settings import SamplerDefaults, SamplerSettings
from dsdit.sampling.picture import super_resolve
from dsdit.sampling.sampler import TileSampler
from dsdit.sampling.tile_batch import TileBatch
from tests.support.checkpoints import state_dict

NETWORK = DSDiTConfig(depth=2, hidden_size=64, num_heads=1, pos_embed_max_size=32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Random weights of the published kind, imported, beside a narrow autoencoder."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    vae = AutoencoderKL.from_config({**SD3_CONFIG, "block_out_channels": [32, 32, 32, 32]})
    vae.save_pretrained(folder / "vae")
    save_file(state_dict(NETWORK), folder / "x.safetensors")
    import_weights(folder / "x.safetensors", folder / "out", "CC0", autoencoder=str(folder / "vae"))
    return load_weights(folder / "out")


def pictures(rows: int = 32, cols: int = 48, batch: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """R and a reference, (B, 3, H, W) in [-1, 1]."""
    rng = np.random.default_rng(3)
    low = rng.uniform(-0.8, 0.8, (batch, 3, rows // 8, cols // 8))
    restored = low.repeat(8, 2).repeat(8, 3).astype(np.float32)
    return restored, (restored + rng.uniform(-0.2, 0.2, restored.shape)).astype(np.float32)


def given(model: PublishedModel, valid: bool | np.ndarray = True) -> PublishedConditions:
    restored, ref = pictures()
    where = np.broadcast_to(valid, (2, 32, 48)).copy()
    return model.conditions(restored, np.where(where[:, None], ref, np.nan), where, np.zeros_like(ref), 8)


def test_imported_weights_are_run_as_published(weights: Weights) -> None:
    for setting in (weights.config.sampler, weights.config.faithful):
        assert (setting.schedule, setting.solver, setting.steps) == ("published", "euler", 40)


def test_interface(weights: Weights) -> None:
    model = weights.model
    assert isinstance(model, PublishedModel)
    assert (model.channels, model.token_px, model.codec.factor) == (16, 16, 8)
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)
    assert model.latent_shape(32, 48) == (16, 4, 6)
    with pytest.raises(ValueError, match="not a multiple of 16 px"):
        model.latent_shape(32, 40)


@torch.inference_mode()
def test_streams_are_latents_of_r_and_the_reference(weights: Weights) -> None:
    model = weights.model
    assert isinstance(model, PublishedModel)
    restored, ref = (torch.from_numpy(p) for p in pictures())
    both = given(model)
    assert torch.equal(both.lr, model.codec.encode(restored))
    assert torch.equal(both.ref, model.codec.encode(ref))
    assert not both.ref_high_band.any()
    none = given(model, False)
    assert torch.equal(none.ref, none.lr)
    assert torch.equal(both.without_reference().ref, both.lr)
    left = np.zeros((2, 32, 48), bool)
    left[:, :, :16] = True
    mixed = torch.where(torch.from_numpy(left)[:, None], ref, restored)
    assert torch.equal(given(model, left).ref, model.codec.encode(mixed))
    assert torch.equal(model.start(both), both.lr)


@torch.inference_mode()
@pytest.mark.parametrize("sigma", [1.0, 0.3, torch.tensor([0.9, 0.1])])
@pytest.mark.parametrize("ref_scale", [1.0, 0.0])
def test_the_estimate_follows_the_networks_velocity(
    weights: Weights, sigma: float | torch.Tensor, ref_scale: float
) -> None:
    model = weights.model
    assert isinstance(model, PublishedModel)
    conditions, z = given(model), torch.randn(2, 16, 4, 6)
    timestep = 1000.0 * torch.as_tensor(sigma).expand(2)
    expected = model.network(z, timestep, conditions.lr, conditions.ref, ref_scale)
    denoised = model.denoise(z, sigma, conditions, ref_scale)
    s = torch.as_tensor(sigma, dtype=torch.float32).reshape(-1, 1, 1, 1)
    assert torch.equal(denoised.x0, z - s * expected)
    assert denoised.gate.shape == (2, 4, 6) and not denoised.gate.any()
    assert denoised.weighting.shape == (2, 2, 3)


@torch.inference_mode()
def test_the_sampler_runs_it(weights: Weights) -> None:
    model = weights.model
    assert isinstance(model, PublishedModel)
    restored, ref = pictures()
    valid = np.ones((2, 32, 48), bool)
    noise = np.random.default_rng(0).standard_normal((2, 16, 4, 6)).astype(np.float32)
    batch = TileBatch(restored, ref, valid, np.zeros_like(ref), noise, 8)
    sampler = TileSampler(weights, SamplerSettings(steps=1, batch=2))
    drawn, share = sampler(batch)
    conditions, z = given(model), torch.from_numpy(noise)
    expected = model.codec.decode(model.denoise(z, 1.0, conditions).x0)
    assert np.allclose(drawn, expected.numpy(), rtol=1e-4, atol=1e-4)
    assert share.shape == (2, 2, 3)
    again, _ = sampler(batch)
    assert np.array_equal(drawn, again)
    truncated = TileSampler(weights, SamplerSettings(steps=1, batch=2, start_sigma=0.4))
    z = 0.4 * z + 0.6 * conditions.lr
    expected = model.codec.decode(model.denoise(z, 0.4, conditions).x0)
    assert np.allclose(truncated(batch)[0], expected.numpy(), rtol=1e-4, atol=1e-4)


def test_the_evaluation_runs_it(weights: Weights) -> None:
    rng = np.random.default_rng(0)
    hr, ref = rng.integers(40, 200, (2, 3, 96, 128)).astype(np.uint8)
    case = make_case(Scene("a", "single", "clear", hr, ref), 8)
    drawn = super_resolve(weights, case.lr, 8, case.ref, SamplerDefaults(steps=1))
    assert drawn.shape == (3, 96, 128)
    assert np.isfinite(drawn).all()


def test_the_digest_follows_the_autoencoder(weights: Weights, tmp_path: Path) -> None:
    vae = AutoencoderKL.from_config({**SD3_CONFIG, "block_out_channels": [32, 32, 32, 32]})
    save_file(state_dict(NETWORK), tmp_path / "x.safetensors")
    digests = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.nn.init.normal_(vae.encoder.conv_in.weight)
        vae.save_pretrained(tmp_path / "vae")
        out = tmp_path / f"out{seed}"
        digests.append(import_weights(tmp_path / "x.safetensors", out, "CC0", "same", str(tmp_path / "vae")).digest)
        assert load_weights(out).digest == digests[-1]
    assert digests[0] != digests[1]


def test_an_autoencoder_of_other_channels_is_refused(weights: Weights) -> None:
    network = meta_network(DSDiTConfig(depth=1, hidden_size=64, num_heads=1, in_channels=4))
    with pytest.raises(WeightsError, match="4 channels and its autoencoder 16"):
        PublishedModel(network, weights.model.codec)


@pytest.mark.parametrize("change", [{"kind": "other"}, {"kind": "tiny", "autoencoder": "vae"}])
def test_kinds_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, str]) -> None:
    save_file(state_dict(NETWORK), tmp_path / "x.safetensors")
    import_weights(tmp_path / "x.safetensors", tmp_path / "out", "CC0")
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(WeightsError, match=next(reversed(change))):
        load_weights(tmp_path / "out")
