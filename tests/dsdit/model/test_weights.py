"""Weights folders: written, read back, and refused where they are hostile or do not fit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dsdit.errors import WeightsError
from dsdit.model import DSDiT, DSDiTConfig, WeightsConfig, load_weights, save_weights

NETWORK = DSDiTConfig(depth=1, hidden_size=32, num_heads=2, in_channels=73, pos_embed_max_size=8, qk_norm="rms")


@pytest.fixture
def folder(tmp_path):
    save_weights(tmp_path / "w", DSDiT(NETWORK), WeightsConfig("w", NETWORK))
    return tmp_path / "w"


def test_round_trip(folder):
    weights = load_weights(folder)
    assert weights.config == WeightsConfig("w", NETWORK)
    assert weights.model.dtype == torch.float32
    assert len(weights.digest) == 64
    stored = load_file(folder / "model.safetensors")
    for name, value in weights.model.network.state_dict().items():
        assert torch.equal(value, stored[name].float())


def test_loading_leaves_the_random_state(folder):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_weights(folder)
    assert torch.equal(torch.rand(3), expected)


def test_digest_follows_config_and_tensors(folder):
    before = load_weights(folder).digest
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "licence": "other"}))
    assert load_weights(folder).digest != before


class _Hostile:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.ckpt", "x.bin"])
def test_pickles_are_refused_unopened(tmp_path, name):
    torch.save({"model": _Hostile()}, tmp_path / name)
    with pytest.raises(WeightsError, match="pickle"):
        load_weights(tmp_path / name)


def test_a_pickle_by_another_name_is_refused(folder):
    torch.save({"model": _Hostile()}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_weights(folder)


def test_missing_unknown_and_misshapen_tensors_are_named(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["pos_embed"]
    tensors["stranger"] = torch.zeros(1)
    tensors["final_layer.linear.bias"] = torch.zeros(3)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing \['pos_embed'\], unknown \['stranger'\].*linear.bias.*\(3,\)"):
        load_weights(folder)


@pytest.mark.parametrize("change", [{"surprise": 1}, {"network": {"depth": 0}}, {"network": None}])
def test_configurations_that_cannot_be_are_refused(folder, change):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_weights(folder)


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(WeightsError, match="dsdit-tiny"):
        load_weights("dsdit-huge")


def test_the_shipped_weights_load():
    weights = load_weights()
    assert weights.config.name == "dsdit-tiny"
    assert weights.config.sampler.steps == 1
    assert weights.model.token_px == 8


def test_loading_does_not_load_the_compiler():
    """It takes seconds, in every worker."""
    code = (
        "import sys; from dsdit.model import load_weights; load_weights(); "
        "assert not {'sympy', 'torch._dynamo', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
