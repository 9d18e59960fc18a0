"""Shifts that are known, found again from LR alone; and none believed where there is nothing to believe."""

import numpy as np
import pytest

from dsdit.registration import measure_shift, moved
from dsdit.sensor import EVALUATION_MTF, decimate, upsample


def ground(seed: int, shape: tuple[int, int] = (256, 320)) -> np.ndarray:
    """(3, y, x): coarse and fine structure, much of it finer than an LR pixel of 8 px."""
    rng = np.random.default_rng(seed)
    out = np.zeros((3, *shape), np.float32)
    for factor, strength in ((32, 0.3), (8, 0.2), (2, 0.1)):
        layer = rng.normal(0, strength, (1, -(-shape[0] // factor), -(-shape[1] // factor))).astype(np.float32)
        out += upsample(layer, factor)[:, : shape[0], : shape[1]]
    return out


@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.0), (1.3, -0.6), (-2.0, 3.1), (0.25, 0.4)])
def test_a_known_shift_is_found_to_a_fraction_of_a_pixel(dy: float, dx: float) -> None:
    hr = ground(0)
    ref = moved(hr, -dy, -dx)
    found = measure_shift(decimate(hr, 8, EVALUATION_MTF), ref, 8, EVALUATION_MTF)
    assert (found.dy, found.dx) == pytest.approx((dy, dx), abs=0.1)
    assert found.agreement > 0.95


def test_changed_ground_and_other_light_do_not_mislead() -> None:
    hr = ground(1)
    ref = moved(hr, 1.5, -1.0)
    ref[:, 40:130, 60:200] = ground(2)[:, 40:130, 60:200]
    ref = ref * 0.8 + np.linspace(0, 0.5, ref.shape[2], dtype=np.float32)
    found = measure_shift(decimate(hr, 8, EVALUATION_MTF), ref, 8, EVALUATION_MTF)
    assert (found.dy, found.dx) == pytest.approx((-1.5, 1.0), abs=0.25)


@pytest.mark.parametrize("case", ["another place", "too far", "too small", "flat"])
def test_no_shift_is_believed(case: str) -> None:
    hr = ground(3)
    ref = {
        "another place": ground(4),
        "too far": moved(hr, 9.0, 0.0),
        "too small": hr,
        "flat": np.full_like(hr, 0.2),
    }[case]
    if case == "too small":
        hr, ref = hr[:, :48, :48], moved(hr, 1.0, 1.0)[:, :48, :48]
    assert measure_shift(decimate(hr, 8, EVALUATION_MTF), ref, 8, EVALUATION_MTF).none


def test_moved_is_what_it_says() -> None:
    hr = ground(5)
    np.testing.assert_allclose(moved(hr, 2.0, -3.0)[:, 8:-8, 8:-8], hr[:, 10:-6, 5:-11], atol=1e-4)
