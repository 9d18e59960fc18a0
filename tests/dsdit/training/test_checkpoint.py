"""What a run leaves on the disk is whole at any moment."""

from pathlib import Path

import pytest

from dsdit.model import load_weights
from dsdit.training import TrainingConfig
from dsdit.training.trainer import Trainer
from tests.dsdit.training.tiny import SETTINGS


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
