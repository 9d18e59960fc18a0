"""These tests run on CUDA, or on the device in DSDIT_TEST_DEVICE: `cpu` tries the tests themselves without a GPU."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    name = os.environ.get("DSDIT_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA GPU here")
    torch.set_num_threads(1 if name == "cuda" else torch.get_num_threads())
    return name
