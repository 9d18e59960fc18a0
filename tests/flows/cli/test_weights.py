"""`dsdit weights` as it is typed."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from dsdit.model.header import check_weights
from flows.cli.main import app
from tests.support.checkpoints import sd3_state_dict, state_dict

RUNNER = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "400"})


class _Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


def test_show() -> None:
    result = RUNNER.invoke(app, ["weights", "show"])
    assert result.exit_code == 0, result.output
    assert "dsdit-tiny" in result.output
    assert check_weights()[1] in result.output


def test_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"model": state_dict(), "args": None}, tmp_path / "x.pt")
    command = ["weights", "import", str(tmp_path / "x.pt"), str(tmp_path / "out")]
    refused = RUNNER.invoke(app, command)
    assert refused.exit_code == 2
    assert "--license" in refused.output
    result = RUNNER.invoke(app, [*command, "--license", "CC-BY 4.0", "--name", "published"])
    assert result.exit_code == 0, result.output
    config, digest = check_weights(tmp_path / "out")
    assert (config.name, config.licence) == ("published", "CC-BY 4.0")
    assert digest in result.output
    assert result.output.splitlines()[-1] == str(tmp_path / "out")
    shown = RUNNER.invoke(app, ["weights", "show", str(tmp_path / "out")])
    assert shown.exit_code == 0 and digest in shown.output


def test_sd3(tmp_path: Path) -> None:
    save_file(sd3_state_dict(), tmp_path / "sd3.safetensors")
    result = RUNNER.invoke(app, ["weights", "import", str(tmp_path / "sd3.safetensors"), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "1 first_stage_model.*" in result.output and "1 text_encoders.*" in result.output
    assert "Stability AI Community License" in result.output


@pytest.mark.parametrize("hostile", [True, False])
def test_what_is_refused_is_one_sentence(tmp_path: Path, hostile: bool) -> None:
    victim = tmp_path / "ran"
    content = {"model": state_dict(), "args": _Hostile(f"touch {victim}") if hostile else None, "x": 1}
    torch.save(content if hostile else {"a": torch.zeros(2)}, tmp_path / "x.pt")
    result = RUNNER.invoke(
        app, ["weights", "import", str(tmp_path / "x.pt"), str(tmp_path / "out"), "--license", "CC0"]
    )
    assert result.exit_code == 2
    assert result.output.startswith("dsdit: ") and len(result.output.splitlines()) == 1
    assert not victim.exists() and not (tmp_path / "out").exists()
