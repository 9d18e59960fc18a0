"""Noise belongs to places: any way of cutting the plane gives the same numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsdit.sampling import block_noise, noise_window

corner = st.integers(-200, 200)
side = st.integers(1, 90)


@settings(max_examples=40, deadline=None)
@given(corner, corner, side, side, st.data())
def test_a_window_is_the_sum_of_its_cuts(row0, col0, height, width, data):
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    whole = noise_window(7, row0, col0, height, width, 2)
    part = noise_window(7, row0 + row, col0 + col, height - row, width - col, 2)
    assert np.array_equal(whole[:, row:, col:], part)


def test_blocks_are_where_they_should_be():
    window = noise_window(3, -64, -128, 128, 192, 2)
    assert np.array_equal(window[:, 64:, 128:], block_noise(3, 0, 0, 2))
    assert np.array_equal(window[:, :64, :64], block_noise(3, -1, -2, 2))


def test_fewer_channels_are_the_first_ones():
    assert np.array_equal(noise_window(1, 5, 5, 10, 20, 48)[:3], noise_window(1, 5, 5, 10, 20, 3))


def test_blocks_and_seeds_differ_and_are_normal():
    blocks = [block_noise(*key, channels=16) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, -1, 0))]
    for i, one in enumerate(blocks):
        assert one.dtype == np.float32
        assert abs(one.mean()) < 0.02 and abs(one.std() - 1) < 0.02
        for other in blocks[:i]:
            assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02


def test_a_known_value_holds_the_stream():
    assert block_noise(0, -5, 9, 1)[0, 0, :3] == pytest.approx(KNOWN, abs=1e-6)


KNOWN = (1.1976801, 1.1183304, 0.2638738)


@pytest.mark.parametrize("key", [(-1, 0, 0), (0, 2**31, 0), (0, 0, -(2**31) - 1)])
def test_out_of_range_is_refused(key):
    with pytest.raises(ValueError, match=r"seed|block"):
        block_noise(*key, channels=1)
