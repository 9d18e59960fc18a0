"""The header of a weights folder: equal to what loading finds, without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from dsdit.errors import WeightsError
from dsdit.model.autoencoder_files import SD3_CONFIG
from dsdit.model.config import DSDiTConfig
from dsdit.model.header import check_weights, read_header
from dsdit.model.importing import import_weights
from dsdit.model.tensor_header import network_shapes
from dsdit.model.weights import load_weights, meta_network
from tests.support.checkpoints import first_stage, state_dict

ROOT = Path(__file__).parents[3]
NETWORK = DSDiTConfig(depth=1, hidden_size=64, num_heads=1)


def imported(folder: Path, autoencoder: str | None) -> Path:
    save_file(state_dict(NETWORK), folder / "x.safetensors")
    import_weights(folder / "x.safetensors", folder / "out", "CC0", "published", autoencoder)
    return folder / "out"


@pytest.mark.parametrize(
    "config",
    [
        DSDiTConfig(2, 64, 1),
        DSDiTConfig(3, 96, 3, patch_size=4, in_channels=73, pos_embed_max_size=12, qk_norm="rms"),
        DSDiTConfig(1, 4, 1, patch_size=1, in_channels=4, pos_embed_max_size=5),
    ],
)
def test_shapes_are_those_of_the_network(config: DSDiTConfig) -> None:
    assert network_shapes(config) == {n: tuple(v.shape) for n, v in meta_network(config).state_dict().items()}


def test_shipped_weights() -> None:
    header, loaded = read_header("dsdit-tiny"), load_weights("dsdit-tiny")
    assert (header.digest, header.config, header.token_px) == (loaded.digest, loaded.config, loaded.model.token_px)
    assert (header.name, header.tile_px, header.token_px) == ("dsdit-tiny", 128, 8)
    assert (header.default.ensemble, header.faithful.ensemble) == (2, 8)


@pytest.mark.parametrize("stored", ["folder", "sd3"])
def test_published_weights(tmp_path: Path, stored: str) -> None:
    torch.manual_seed(0)
    blocks = [32] * 4 if stored == "folder" else SD3_CONFIG["block_out_channels"]
    vae = AutoencoderKL.from_config({**SD3_CONFIG, "block_out_channels": blocks})
    if stored == "folder":
        vae.save_pretrained(tmp_path / "vae")
    else:
        save_file({name: value.contiguous() for name, value in first_stage(vae).items()}, tmp_path / "vae")
    folder = imported(tmp_path, str(tmp_path / "vae"))
    header, loaded = read_header(folder), load_weights(folder)
    assert (header.digest, header.token_px) == (loaded.digest, loaded.model.token_px)
    assert header.token_px == 16


def test_no_torch() -> None:
    code = (
        "import sys; from dsdit.model import read_header; assert read_header().token_px == 8; "
        "import dsdit.sampling.passes, dsdit.sampling.solver; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_weights_without_their_autoencoder(tmp_path: Path) -> None:
    folder = imported(tmp_path, None)
    assert check_weights(folder)[0].autoencoder is None
    with pytest.raises(WeightsError, match="names no autoencoder"):
        read_header(folder)


def test_an_autoencoder_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    folder = imported(tmp_path, str(tmp_path / "vae"))
    (tmp_path / "vae" / "config.json").write_text(json.dumps({"latent_channels": 16}))
    with pytest.raises(WeightsError, match="states block_out_channels None and latent_channels 16"):
        read_header(folder)
    (tmp_path / "vae" / "config.json").write_text(json.dumps({"latent_channels": 4, "block_out_channels": [32, 32]}))
    with pytest.raises(WeightsError, match="16 channels and its autoencoder 4"):
        read_header(folder)


def test_tensors_that_do_not_fit(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "dsdit" / "weights" / "dsdit-tiny", tmp_path / "w")
    tensors = load_file(folder / "model.safetensors")
    del tensors["pos_embed"]
    tensors["stranger"] = torch.zeros(1)
    tensors["final_layer.linear.bias"] = torch.zeros(3)
    tensors["t_embedder.mlp.0.bias"] = tensors["t_embedder.mlp.0.bias"].to(torch.int32)
    save_file(tensors, folder / "model.safetensors")
    sentence = (
        r"missing \['pos_embed'\], unknown \['stranger'\].*linear.bias: file \(3,\), network \(292,\)"
        r".*floating-point \['t_embedder.mlp.0.bias'\]"
    )
    with pytest.raises(WeightsError, match=sentence):
        read_header(folder)
    with pytest.raises(WeightsError, match=sentence):
        load_weights(folder)


@pytest.mark.parametrize("content", [b"", b"\x80\x02pickle", b"PK\x03\x04zip"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    folder = shutil.copytree(ROOT / "dsdit" / "weights" / "dsdit-tiny", tmp_path / "w")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        read_header(folder)


def test_other_channels_than_its_codec_needs(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "dsdit" / "weights" / "dsdit-tiny", tmp_path / "w")
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "kernel_px": 3}))
    with pytest.raises(WeightsError, match="73 channels, and its codec and kernel need 57"):
        read_header(folder)
