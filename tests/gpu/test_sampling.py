"""The shipped weights on a GPU: close to the CPU, and the same bytes again, in every place of a batch (G1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dsdit.model.weights import load_weights
from dsdit.sampling.tile_batch import TileBatch
from tests.support.tiles import random_tiles, sampler_of

pytestmark = pytest.mark.gpu
BATCH = 8
FLOAT32, BFLOAT16 = 1e-4, 2e-2
"""Mean difference from the CPU in the model's range, where 1 is half of it. A stored step of a mosaic is 5e-4.

bfloat16 keeps 8 bits: its bound only shows that nothing is grossly wrong.
"""
Drawn = tuple[NDArray[np.float32], NDArray[np.float32]]


def placed(batch: TileBatch, places: list[int]) -> TileBatch:
    """The tiles at `places`, in this order."""
    names = ("restored", "ref", "ref_valid", "ref_high", "noise")
    return replace(batch, **{name: getattr(batch, name)[places] for name in names})


@pytest.fixture(scope="module")
def on_cpu() -> Drawn:
    sampler = sampler_of(load_weights("dsdit-tiny", "cpu", torch.float32), BATCH)
    return sampler(random_tiles(sampler))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16)])
def test_close_to_the_cpu(device: str, on_cpu: Drawn, dtype: torch.dtype, bound: float) -> None:
    sampler = sampler_of(load_weights("dsdit-tiny", device, dtype), BATCH)
    for ours, theirs in zip(sampler(random_tiles(sampler)), on_cpu, strict=True):
        assert ours.shape == theirs.shape and np.isfinite(ours).all()
        difference = np.abs(ours - theirs)
        assert difference.mean() < bound, f"mean {difference.mean():.2g}, largest {difference.max():.2g}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [BATCH, 5])
def test_a_tile_has_the_same_bytes_whatever_its_place_and_neighbours(
    device: str, dtype: torch.dtype, batch: int
) -> None:
    weights = load_weights("dsdit-tiny", device, dtype)
    sampler = sampler_of(weights, batch, replace(weights.config.sampler, ensemble=1))
    tiles = random_tiles(sampler)
    straight = sampler(tiles)
    assert len({tile.tobytes() for tile in straight[0]}) == batch
    turns = [[(k - turn) % batch for k in range(batch)] for turn in (0, 1, batch // 2)]
    for places in (*turns, [0] * batch, [1, *[0] * (batch - 1)]):
        for ours, theirs in zip(straight, sampler(placed(tiles, places)), strict=True):
            differ = [k for k, place in enumerate(places) if ours[place].tobytes() != theirs[k].tobytes()]
            assert not differ, f"tiles {places}: those at {differ} have other bytes"
