"""Tiles of a picture in memory: they cover it, overlap enough, and do not hang over its edge."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_picture_of_any_size_comes_back_in_its_size():
    weights = load_weights("dsdit-tiny")
    lr = np.random.default_rng(0).uniform(-1, 1, (3, 9, 21)).astype(np.float32)
    picture = super_resolve(weights, lr, 8)
    assert picture.shape == (3, 72, 168) and np.isfinite(picture).all()
