"""SD3's autoencoder at its own layout, with random tensors: shapes, normalisation, both ways of opening it."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

import dsdit.model.sd3_autoencoder
from dsdit.errors import WeightsError
from dsdit.model.autoencoder_files import SD3_CONFIG
from dsdit.model.sd3_autoencoder import open_autoencoder
from tests.support.checkpoints import first_stage, sd3_state_dict


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("autoencoder") / "vae"
    torch.manual_seed(0)
    AutoencoderKL.from_config(SD3_CONFIG).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection fails the test."""
    import socket

    def refused(*arguments: object) -> None:
        pytest.fail(f"a connection was tried: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@torch.inference_mode()
def test_shapes_and_determinism(folder: Path, image: torch.Tensor, no_network: None) -> None:
    autoencoder = open_autoencoder(folder)
    assert (autoencoder.factor, autoencoder.channels, autoencoder.dtype) == (8, 16, torch.float32)
    latent = autoencoder.encode(image)
    assert latent.shape == (2, 16, 4, 6)
    torch.manual_seed(5)
    assert torch.equal(latent, autoencoder.encode(image))
    assert torch.equal(latent, open_autoencoder(folder).encode(image))
    picture = autoencoder.decode(latent)
    assert picture.shape == image.shape
    assert torch.equal(picture, autoencoder.decode(latent))


@torch.inference_mode()
def test_latents_are_the_shifted_and_scaled_mean(folder: Path, image: torch.Tensor) -> None:
    autoencoder, plain = open_autoencoder(folder), AutoencoderKL.from_pretrained(folder, local_files_only=True).eval()
    mean = plain.encoder(image)[:, :16]
    latent = autoencoder.encode(image)
    assert torch.allclose(latent, (mean - 0.0609) * 1.5305, rtol=0, atol=1e-6)
    assert torch.allclose(autoencoder.decode(latent), plain.decoder(mean), rtol=0, atol=2e-4)


@torch.inference_mode()
def test_folder_and_sd3_file_agree(folder: Path, image: torch.Tensor, tmp_path: Path, no_network: None) -> None:
    vae = AutoencoderKL.from_pretrained(folder, local_files_only=True)
    rest = {name: t for name, t in sd3_state_dict().items() if not name.startswith("first_stage_model.")}
    save_file({**rest, **first_stage(vae)}, tmp_path / "sd3.safetensors")
    one, other = open_autoencoder(folder), open_autoencoder(tmp_path / "sd3.safetensors")
    latent = one.encode(image)
    assert torch.equal(latent, other.encode(image))
    assert torch.equal(one.decode(latent), other.decode(latent))


@pytest.mark.slow
@torch.inference_mode()
def test_bfloat16_is_near_float32(folder: Path, image: torch.Tensor) -> None:
    exact, rough = open_autoencoder(folder), open_autoencoder(folder, dtype=torch.bfloat16)
    latent = rough.encode(image)
    assert latent.dtype == torch.bfloat16 and rough.decode(latent).dtype == torch.bfloat16
    error = (latent.float() - exact.encode(image)).square().mean().sqrt()
    assert error < 0.05 * exact.encode(image).std()


@torch.inference_mode()
def test_large_pictures_are_worked_on_in_tiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsdit.model.sd3_autoencoder, "TILE_PX", 64)
    tiled = open_autoencoder(folder)
    shapes: list[tuple[int, ...]] = []
    tiled.vae.encoder.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape[-2:])))
    image = torch.rand(1, 3, 64, 64)
    tiled.encode(image)
    assert shapes == [(64, 64)]
    shapes.clear()
    latent = tiled.encode(torch.rand(1, 3, 64, 112))
    assert latent.shape == (1, 16, 8, 14)
    assert len(shapes) > 1 and max(max(shape) for shape in shapes) == 64
    assert tiled.decode(latent).shape == (1, 3, 64, 112)


def test_damage_is_reported(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
    config = json.loads((folder / "config.json").read_text())

    def written(tensors: dict[str, torch.Tensor], config: object) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
        return tmp_path

    fewer = {name: t for name, t in tensors.items() if name != "encoder.conv_in.bias"}
    with pytest.raises(WeightsError, match=r"missing \['encoder.conv_in.bias'\]"):
        open_autoencoder(written(fewer, config))
    with pytest.raises(WeightsError, match="shift_factor None"):
        open_autoencoder(written(tensors, {**config, "shift_factor": None}))
    with pytest.raises(WeightsError, match="must be an object"):
        open_autoencoder(written(tensors, [1]))
    with pytest.raises(WeightsError, match="no autoencoder that diffusers knows"):
        open_autoencoder(written(tensors, {**config, "down_block_types": ["Nonsense"] * 4}))
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no tensor first_stage_model"):
        open_autoencoder(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        open_autoencoder(tmp_path / "..")
