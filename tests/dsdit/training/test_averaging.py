"""`dsdit weights mean`: number by number, of weights that are alike."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from dsdit.model import DSDiT, DSDiTConfig, WeightsConfig, save_weights
from dsdit.model.header import check_weights
from flows.cli.main import app

RUNNER = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "400"})
NETWORK = DSDiTConfig(depth=1, hidden_size=32, num_heads=2, in_channels=73, pos_embed_max_size=8, qk_norm="rms")
CONFIG = WeightsConfig("a", NETWORK, licence="Apache-2.0", training_data="ours")


def make(folder, number, config=CONFIG, tensors=None):
    torch.manual_seed(number)
    network = DSDiT(config.network)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    save_weights(folder, tensors or network, config)
    return str(folder)


def mean(*arguments):
    return RUNNER.invoke(app, ["weights", "mean", *map(str, arguments)])


@pytest.mark.parametrize("count", [2, 3])
def test_the_mean_is_that_of_the_numbers(tmp_path, count):
    places = [make(tmp_path / str(k), k, replace(CONFIG, name=str(k), notes=str(k))) for k in range(count)]
    result = mean(*places, "--out", tmp_path / "mean", "--name", "both")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == str(tmp_path / "mean")
    config, digest = check_weights(tmp_path / "mean")
    assert digest in result.output
    assert config == replace(CONFIG, name="both", notes=config.notes)
    assert all(check_weights(place)[1][:12] in config.notes for place in places)
    found = load_file(tmp_path / "mean" / "model.safetensors")
    given = [load_file(f"{place}/model.safetensors") for place in places]
    assert found.keys() == given[0].keys()
    for name, value in found.items():
        expected = torch.stack([each[name].double() for each in given]).mean(0)
        assert value.dtype == torch.float16 and torch.equal(value, expected.half()), name
    assert not torch.equal(found["final_layer.linear.weight"], given[0]["final_layer.linear.weight"])


def test_the_name_is_the_first_ones(tmp_path):
    places = make(tmp_path / "a", 0), make(tmp_path / "b", 1, replace(CONFIG, name="b"))
    assert mean(*places, "--out", tmp_path / "c").exit_code == 0
    assert check_weights(tmp_path / "c")[0].name == "a"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licence": "CC0"}, "licence: 'Apache-2.0' and 'CC0'"),
        ({"training_data": "theirs"}, "training_data"),
        ({"network": replace(NETWORK, depth=2)}, "network"),
        ({"residual_scale": 8.0}, "residual_scale: 16.0 and 8.0"),
    ],
)
def test_unlike_weights_are_refused(tmp_path, change, message):
    places = make(tmp_path / "a", 0), make(tmp_path / "b", 1, replace(CONFIG, **change))
    result = mean(*places, "--out", tmp_path / "c")
    assert result.exit_code == 2 and message in result.output and "not alike" in result.output
    assert len(result.output.splitlines()) == 1 and not (tmp_path / "c").exists()


def test_tensors_of_other_names_are_refused(tmp_path):
    first = make(tmp_path / "a", 0)
    tensors = load_file(f"{first}/model.safetensors")
    tensors["stranger"] = tensors.pop("final_layer.linear.bias")
    second = make(tmp_path / "b", 1, tensors=tensors)
    result = mean(first, second, "--out", tmp_path / "c")
    assert result.exit_code == 2 and "stranger" in result.output and "final_layer.linear.bias" in result.output
    assert not (tmp_path / "c").exists()


def test_one_is_no_mean_and_nothing_is_written_over(tmp_path):
    first, second = make(tmp_path / "a", 0), make(tmp_path / "b", 1)
    assert "two weights or more" in mean(first, "--out", tmp_path / "c").output
    before = check_weights(second)[1]
    result = mean(first, second, "--out", second)
    assert result.exit_code == 2 and "another --out" in result.output
    assert check_weights(second)[1] == before
