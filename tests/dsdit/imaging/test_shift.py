"""Known shifts are found again from LR alone, and none is accepted where there is none."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from dsdit.imaging.sensor import EVALUATION_MTF, decimate, upsample
from dsdit.imaging.shift import PairShift, Shift, common_shift, measure_shift, moved, search_shift
from tests.support.texture import cubic_at, texture


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
def test_no_shift_is_accepted(case: str) -> None:
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


def test_a_picture_is_moved_by_whole_pixels() -> None:
    hr = ground(5)
    np.testing.assert_allclose(moved(hr, 2.0, -3.0)[:, 8:-8, 8:-8], hr[:, 10:-6, 5:-11], atol=1e-4)


@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.0), (0.4, -0.7), (-3.0, 5.2), (12.0, -9.5)])
def test_a_search_finds_shifts_of_a_fraction_and_of_more_than_an_lr_pixel(dy: float, dx: float) -> None:
    hr = ground(6)
    ref = moved(hr, -dy, -dx) * 0.7 + 0.1
    ref[:, 100:, :] = 0.6 - ref[:, 100:, :]
    valid = np.ones((32, 40), bool)
    valid[25:30, 3:8] = False
    ref[:, 200:240, 24:64] = 3.0
    found = search_shift(decimate(hr, 8, EVALUATION_MTF), ref, 8, EVALUATION_MTF, valid)
    assert found is not None
    shift, accepted = found
    assert accepted and (shift.dy, shift.dx) == pytest.approx((dy, dx), abs=0.25)


def test_a_search_accepts_nothing_where_there_is_no_common_ground() -> None:
    hr = ground(3)
    lr = decimate(hr, 8, EVALUATION_MTF)
    for ref in (ground(4), np.full_like(hr, 0.2)):
        found = search_shift(lr, ref, 8, EVALUATION_MTF)
        assert found is not None and found[0].none and not found[1]
    assert search_shift(lr[:, :20, :20], hr[:, :160, :160], 8, EVALUATION_MTF) is None


def test_windows_agree_on_one_shift_or_give_none() -> None:
    agreeing = [(Shift(1.0 + k / 10, -2.0, 0.9), True) for k in (-1, 0, 1)]
    rejected = (Shift(0.0, 0.0, 0.3), False)
    assert common_shift([*agreeing, rejected], 8) == PairShift(1.0, -2.0, 0.9, 3, 4, pytest.approx(0.1))
    assert common_shift([agreeing[0], *[rejected] * 4], 8) == PairShift(agreement=0.3, seen=5)
    unlike = [(Shift(dy, 0.0, 0.9), True) for dy in (-6.0, 0.0, 6.0)]
    assert common_shift(unlike, 8) == PairShift(agreement=0.9, seen=3, residual=6.0)
    assert common_shift([], 8) == PairShift()
    assert PairShift(1.0, 0.0, 0.9, 4, 4, 2.0).doubt(8) == 1.0


def test_reflectance_that_no_ground_has_is_no_crash() -> None:
    """An item may state any scale: values near float32's end are finite, and so must the result be."""
    lr = (3e38 * np.random.default_rng(0).uniform(0.9, 1, (3, 48, 48))).astype(np.float32)
    found = search_shift(lr, lr.repeat(8, 1).repeat(8, 2), 8, 0.3)
    assert found is not None and np.isfinite([found[0].dy, found[0].dx, found[0].agreement]).all()


LATTICES = [(0, 0), (2, 2), (3, 3), (4, 0), (5, 6)]
"""How far LR's own pixels are beside those of the grid, in HR pixels of 8: 0, 1/4, 3/8, 1/2, 5/8 and 3/4."""


def beside(hr: np.ndarray, lattice: tuple[int, int], mtf: float, shift: tuple[float, float]) -> tuple[float, float]:
    """Error (y, x) of the shift that is found where LR of a sensor of `mtf` is read onto the grid by cubic."""
    own = decimate(np.roll(hr, lattice, (1, 2)), 8, mtf)
    offset = (lattice[0] / 8, lattice[1] / 8)
    ref = np.asarray(moved(hr, -shift[0], -shift[1]))
    edge = (slice(None), slice(4, -4), slice(4, -4))
    lr = cubic_at(own, *offset)[edge]
    found = search_shift(lr, ref[:, 32:-32, 32:-32], 8, EVALUATION_MTF, offsets_px=(offset,))
    assert found is not None and found[1]
    return found[0].dy - shift[0], found[0].dx - shift[1]


@pytest.mark.parametrize("mtf", [EVALUATION_MTF, 0.4, 0.63])
@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.7, 5.3), (8.0, 4.0)])
def test_no_bias_whatever_lattice_and_mtf_lr_has(
    lattice: tuple[int, int], mtf: float, shift: tuple[float, float]
) -> None:
    assert np.abs(np.mean([beside(texture(seed, 512), lattice, mtf, shift) for seed in (0, 1)], 0)).max() <= 0.1


def test_a_lattice_that_is_not_known_biases_the_shift_by_half_an_hr_pixel() -> None:
    hr = texture(0, 512)
    own = decimate(np.roll(hr, (3, 3), (1, 2)), 8, 0.63)
    found = search_shift(cubic_at(own, 0.375, 0.375), hr, 8, EVALUATION_MTF)
    assert found is not None and found[0].dy == pytest.approx(-0.55, abs=0.1)


@pytest.mark.shared
@pytest.mark.parametrize("mtf", [EVALUATION_MTF, 0.63])
@pytest.mark.parametrize("lattice", LATTICES)
def test_no_bias_on_a_real_picture(lattice: tuple[int, int], mtf: float, shared: Path) -> None:
    with rasterio.open(shared / "geo" / "elkton_va" / "naip_va.tif") as file:
        hr = file.read([1, 2, 3])[:, :504, :592].astype(np.float32)
    assert np.abs(beside(hr, lattice, mtf, (0.0, 0.0))).max() <= 0.1
