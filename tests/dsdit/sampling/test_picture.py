"""Tiles of a picture in memory: they cover it, overlap enough, and do not hang over its edge."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsdit.imaging.sensor import EVALUATION_MTF, restored_lr
from dsdit.model.weights import load_weights
from dsdit.sampling.picture import super_resolve, tile_starts


@given(st.integers(1, 3000), st.sampled_from([(128, 32, 8), (160, 40, 40), (128, 32, 16)]))
def test_tiles_cover_a_length(length, sizes):
    tile, overlap, unit = sizes
    starts = tile_starts(length, tile, overlap, unit)
    assert starts[0] == 0 and all(start % unit == 0 for start in starts)
    assert starts[-1] + tile >= length
    assert all(0 < b - a <= tile - overlap for a, b in pairwise(starts))
    if length > tile:
        assert starts[-1] + tile < length + unit


@pytest.mark.parametrize("scale", [4, 8, 10, 16])
def test_no_tile_of_a_larger_picture_hangs_over_its_edge(monkeypatch, scale):
    """Beyond the edge its last pixels go on, so that a tile which hangs over it ends in a line without contrast."""
    inputs = []

    def draw(model, batch, settings):
        inputs.append(batch.restored)
        return batch.restored, np.zeros((len(batch.restored), 1, 1), np.float32)

    monkeypatch.setattr("dsdit.sampling.picture.draw_tiles", draw)
    lr = np.random.default_rng(0).uniform(-1, 1, (3, 290 // scale, 250 // scale)).astype(np.float32)
    picture = super_resolve(load_weights("dsdit-tiny"), lr, scale)
    tiles = np.concatenate(inputs)
    assert np.abs(np.diff(tiles[..., -2:], axis=-1)).max((1, 2, 3)).min() > 0
    assert np.abs(np.diff(tiles[..., -2:, :], axis=-2)).max((1, 2, 3)).min() > 0
    assert np.allclose(picture, restored_lr(lr, scale, EVALUATION_MTF), atol=1e-5)


def test_a_picture_of_any_size_comes_back_in_its_size():
    weights = load_weights("dsdit-tiny")
    lr = np.random.default_rng(0).uniform(-1, 1, (3, 9, 21)).astype(np.float32)
    picture = super_resolve(weights, lr, 8)
    assert picture.shape == (3, 72, 168) and np.isfinite(picture).all()
