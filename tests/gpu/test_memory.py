"""A batch that the memory of a GPU does not hold is refused in one sentence, and a smaller one is drawn after it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from dsdit.errors import RequestError
from dsdit.model.weights import load_weights
from dsdit.sampling.fitting import check_batch_fits
from tests.support.tiles import SCALE, sampler_of

pytestmark = pytest.mark.gpu
ROOM_BYTES = 300_000_000


@contextmanager
def bounded_memory(more_bytes: int) -> Iterator[None]:
    """This process gets so many bytes beyond what it holds of the GPU."""
    gc.collect()
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more_bytes) / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_batch_that_does_not_fit_is_refused(device: str) -> None:
    if device != "cuda":
        pytest.skip("tests/dsdit/sampling/test_fitting.py bounds the memory of the CPU")
    weights = load_weights("dsdit-tiny", device, torch.float32)
    check_batch_fits(sampler_of(weights, 2), 128, SCALE)
    message = r"^sampling.batch: 1024 tiles of 128 px a network call do not fit the memory of cuda.*give a smaller one"
    with bounded_memory(ROOM_BYTES):
        for _ in range(2):
            with pytest.raises(RequestError, match=message):
                check_batch_fits(sampler_of(weights, 1024), 128, SCALE)
        check_batch_fits(sampler_of(weights, 2), 128, SCALE)
    check_batch_fits(sampler_of(weights, 1024), 128, SCALE)
