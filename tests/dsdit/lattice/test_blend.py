"""Blending: weights sum to one, a field common to all tiles comes back, and no window changes a pixel."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dsdit.lattice.blend import blend, feather
from dsdit.window import Window


def _tiles(window: Window, tile: int, overlap: int, seed: int):
    stride = tile - overlap
    for row in range((window.row0 - overlap) // stride, (window.row1 - 1) // stride + 1):
        for col in range((window.col0 - overlap) // stride, (window.col1 - 1) // stride + 1):
            values = np.random.default_rng([seed, row + 1000, col + 1000]).normal(size=(2, tile, tile))
            yield (
                Window(row * stride, col * stride, row * stride + tile, col * stride + tile),
                values.astype(np.float32),
            )


def test_feather_rises_and_never_reaches_zero() -> None:
    weight = feather(12, 4)
    np.testing.assert_allclose(weight[:5], [0.125, 0.375, 0.625, 0.875, 1.0])
    np.testing.assert_array_equal(weight, weight[::-1])
    assert feather(8, 4).min() > 0


@given(st.sampled_from([(16, 4), (16, 8), (24, 4)]))
def test_opposite_ramps_sum_to_one(sizes: tuple[int, int]) -> None:
    tile, overlap = sizes
    weight = feather(tile, overlap)
    np.testing.assert_allclose(weight[-overlap:] + weight[:overlap], 1.0)


def test_a_common_field_comes_back() -> None:
    window = Window(-20, 3, 30, 60)
    tiles = [(tile, np.full((2, 16, 16), 0.7, np.float32)) for tile, _ in _tiles(window, 16, 4, 0)]
    mean, total = blend(window, tiles, feather(16, 4), 2)
    np.testing.assert_allclose(mean, 0.7, rtol=1e-6)
    assert total.min() > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 30), st.integers(1, 50))
def test_a_pixel_does_not_depend_on_the_window(row: int, col: int, height: int, width: int) -> None:
    part = Window(row, col, row + height, col + width)
    whole = part.expand(13)
    weight = feather(16, 4)
    a, _ = blend(part, _tiles(part, 16, 4, 5), weight, 2)
    b, _ = blend(whole, _tiles(whole, 16, 4, 5), weight, 2)
    np.testing.assert_array_equal(a, b[(slice(None), *part.within(whole))])
