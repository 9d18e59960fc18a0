"""Batches ahead of time: the same ones, in order, from a thread or from processes; faults come through."""

import dataclasses
import os
from itertools import count, islice

import numpy as np
import pytest

from dsdit.training import TrainingConfig, train
from dsdit.training.ahead import batches_ahead
from dsdit.training.dataset import CropDataset
from tests.dsdit.training.tiny import SETTINGS, mild, pair


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(1)
    return CropDataset([pair(rng, "naipca-0"), pair(rng, "naipca-1")], mild(jitter=0.5), 3, 2)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_do_not_depend_on_who_makes_them(dataset, workers):
    made = islice(batches_ahead(dataset, count(5, 2), workers), 5)
    for number, batch in zip(range(5, 15, 2), made, strict=True):
        for field in dataclasses.fields(batch):
            assert np.array_equal(getattr(batch, field.name), getattr(dataset.batch(number), field.name))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_in_a_batch_reaches_the_run(dataset, workers, monkeypatch):
    def broken(self, step):
        raise OverflowError(f"step {step} of process {os.getpid()}")

    monkeypatch.setattr(CropDataset, "batch", broken)
    with pytest.raises(OverflowError, match="step 0"):
        next(batches_ahead(dataset, count(), workers))


def test_a_run_with_processes_equals_one_without(data, tmp_path):
    without, beside = (train(TrainingConfig(**SETTINGS, workers=n), data, tmp_path / str(n)) for n in (0, 2))
    assert (without / "model.safetensors").read_bytes() == (beside / "model.safetensors").read_bytes()
