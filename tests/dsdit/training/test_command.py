"""`dsdit train` as it is typed: to its end, killed and taken up, and refused."""

import csv
import json
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from dsdit.model import load_weights
from flows.cli.main import app
from tests.dsdit.training.test_reading import own_folder
from tests.dsdit.training.tiny import SETTINGS

RUNNER = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "400"})
STEPS = 6
KILLED = """
import os, signal
import dsdit.training.checkpoint as checkpoint
from flows.cli.main import app

write, count = checkpoint.save_file, 0

def save_file(*arguments):
    global count
    count += 1
    write(*arguments)
    if count == 3:  # the third checkpoint is written beside, and not yet in its place
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file = save_file
app()
"""


def losses(out):
    with (out / "losses.csv").open(newline="") as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's own pairs: no manifest, no single images."""
    return own_folder(tmp_path_factory.mktemp("own"), ["field", "town", "lake"])


@pytest.fixture(scope="module")
def command(folder, tmp_path_factory):
    """dsdit train with a checkpoint after every step; lacks its --out."""
    config = tmp_path_factory.mktemp("config") / "c.yaml"
    data = {"origins": {"*": 1.0}, "scales": {8: 0.9, 7: 0.1}}
    settings = {**SETTINGS, "data": data, "steps": STEPS, "checkpoint_minutes": 1e-9}
    settings["network"] = {**SETTINGS["network"], "pos_embed_max_size": 24}
    config.write_text(yaml.safe_dump(settings))
    return ["train", str(config), "--data", str(folder), "--out"]


@pytest.fixture(scope="module")
def straight(command, tmp_path_factory):
    """The --out of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("straight") / "run"
    result = RUNNER.invoke(app, [*command, str(out)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == str(out / "weights")
    return out


def test_a_run_leaves_weights_the_best_of_them_a_picture_and_its_losses(straight):
    assert [step for step, _ in losses(straight)] == list(range(1, STEPS + 1))
    weights = load_weights(straight / "weights").config
    assert weights.sensor.scales == (7, 8) and weights.tile_px == 128
    best = json.loads((straight / "best.json").read_text())
    assert best["step"] == STEPS and 5 < best["psnr"] < 60
    assert load_weights(straight / "best").digest == load_weights(straight / "weights").digest
    assert (straight / "validation.png").stat().st_size > 1000
    assert not list(straight.rglob("*.partial"))


@pytest.mark.short
def test_a_run_that_is_killed_and_resumed_equals_a_straight_one(command, straight, tmp_path):
    out = tmp_path / "run"
    dead = subprocess.run(
        [sys.executable, "-c", KILLED, *command, str(out)], capture_output=True, text=True, timeout=300
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert len(losses(out)) == 3 and (out / "resume.partial").exists()
    result = RUNNER.invoke(app, [*command, str(out), "--resume"])
    assert result.exit_code == 0, result.output
    assert losses(out) == losses(straight)
    one, other = (load_file(run / "resume.safetensors") for run in (out, straight))
    assert one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
    assert load_weights(out / "weights").digest == load_weights(straight / "weights").digest


def test_a_run_is_not_written_over(command, straight):
    before = {path: path.stat().st_mtime_ns for path in straight.rglob("*")}
    result = RUNNER.invoke(app, [*command, str(straight)])
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith("dsdit: ")
    assert "--resume" in result.output and "another --out" in result.output
    assert {path: path.stat().st_mtime_ns for path in straight.rglob("*")} == before


def test_a_finished_run_is_done(command, straight):
    before = load_weights(straight / "weights").digest
    result = RUNNER.invoke(app, [*command, str(straight), "--resume"])
    assert result.exit_code == 0, result.output
    assert load_weights(straight / "weights").digest == before and len(losses(straight)) == STEPS


def test_help_shows_how_to_resume(command):
    text = " ".join(RUNNER.invoke(app, ["train", "--help"]).output.split())
    assert "With --resume an interrupted run continues" in text and "refused" in text
