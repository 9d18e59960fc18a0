"""What a run leaves on the disk is whole at any moment."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dsdit.errors import RequestError
from dsdit.model import load_weights
from dsdit.training import TrainingConfig
from dsdit.training.dataset import CropDataset
from dsdit.training.losses import LossLog
from dsdit.training.trainer import Trainer
from tests.dsdit.training.tiny import SETTINGS, mild, pair


def test_a_save_that_breaks_off_leaves_the_weights_of_before(tmp_path, monkeypatch):
    trainer = Trainer(TrainingConfig(**SETTINGS), tmp_path)
    trainer.save()
    before = load_weights(tmp_path / "weights").digest
    write = Path.write_text

    def full_disk(path, text, *rest):
        write(path, text[: len(text) // 2], *rest)
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="no space"):
        trainer.save()
    assert load_weights(tmp_path / "weights").digest == before
    assert not list((tmp_path / "weights").glob("*.partial"))


def test_the_best_by_validation_is_kept(tmp_path):
    trainer = Trainer(TrainingConfig(**SETTINGS), tmp_path)
    trainer.step = 3
    assert trainer.keep_best(20.5)
    first = load_weights(tmp_path / "best").digest
    trainer.average = {name: value + 1 for name, value in trainer.average.items()}
    trainer.step = 5
    assert not trainer.keep_best(20.5) and not trainer.keep_best(19.0) and not trainer.keep_best(math.nan)
    assert load_weights(tmp_path / "best").digest == first
    again = Trainer(TrainingConfig(**SETTINGS), tmp_path)
    assert not again.keep_best(20.0) and again.keep_best(21.0)
    assert json.loads((tmp_path / "best.json").read_text()) == {"psnr": 21.0, "step": 0}


def test_the_losses_beyond_a_checkpoint_are_written_again(tmp_path):
    with LossLog(tmp_path / "losses.csv", 0) as log:
        assert log.add(1, 0.5) == 0.5
        assert log.add(2, 1.0) == pytest.approx(0.51)
        log.add(3, 9.0)
    with (tmp_path / "losses.csv").open("a") as file:
        file.write("4,0.")  # cut off
    with LossLog(tmp_path / "losses.csv", 2) as log:
        assert log.smooth == pytest.approx(0.51)
        log.add(3, 0.1)
    assert (tmp_path / "losses.csv").read_text() == "step,loss\n1,0.5\n2,1.0\n3,0.1\n"


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_ends_the_run_and_changes_nothing(tmp_path, where):
    rng = np.random.default_rng(0)
    batch = CropDataset([pair(rng, "naipca-0")], mild(), 0, 1).batch(0)
    trainer = Trainer(TrainingConfig(**SETTINGS), tmp_path)
    trainer.advance(batch)
    trainer.save()
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    if where == "loss":
        batch = dataclasses.replace(batch, hr=batch.hr * np.float32(np.nan))
    else:
        parameter = trainer.network.final_layer.linear.weight
        parameter.register_hook(lambda gradient: torch.full_like(gradient, math.inf))
    with pytest.raises(RequestError, match=r"step 2: .*(nan|inf).*learning_rate.*--resume"):
        trainer.advance(batch)
    assert trainer.step == 1
    assert all(torch.equal(v, before[k]) for k, v in trainer.network.state_dict().items())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept
