"""A known MTF is measured again from the pictures, with an honest interval, or not at all."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dsdit.evaluation.pairs import read_pairs, scaled
from dsdit.imaging.mtf import LEVEL, MtfEstimate, after_cubic, estimate_alone, estimate_by_reference, middle_of
from dsdit.imaging.sensor import BOX_MTF, EVALUATION_MTF, decimate, high_band
from dsdit.imaging.spectra import joined, measure_spectra
from tests.support.texture import cubic_at, texture

SCALE = 8
TRUE = (0.255, 0.4, 0.63)


@pytest.mark.parametrize("true", TRUE)
def test_a_known_mtf_is_measured_against_a_changed_and_shifted_reference(true: float) -> None:
    hr = texture(0, 512)
    ref = 0.7 * np.roll(hr + 0.5 * texture(1, 512), (3, -5), (1, 2)) + 0.2
    found = estimate_by_reference(measure_spectra(decimate(hr, SCALE, true), ref, SCALE))
    assert found is not None and found.method == "reference" and found.n == 9
    assert found.value == pytest.approx(true, abs=0.05) and true in found and found.high - found.low < 0.2


def test_the_interval_reaches_the_pixel_alone_and_not_beyond() -> None:
    hr = texture(2, 512)
    found = estimate_by_reference(measure_spectra(decimate(hr, SCALE, 0.635), hr, SCALE))
    assert found is not None and found.high == round(BOX_MTF, 4)


@pytest.mark.parametrize("case", ["other ground", "flat", "too small", "clouds", "noise"])
def test_no_mtf_is_given_where_there_is_none_to_measure(case: str) -> None:
    hr = texture(3, 512)
    ref = {"other ground": texture(4, 512), "flat": np.full_like(hr, 0.3)}.get(case, hr)
    lr, valid = decimate(hr, SCALE, 0.4), np.ones((64, 64), bool)
    if case == "too small":
        lr, ref, valid = lr[:, :31], ref[:, :248], valid[:31]
    if case == "clouds":
        valid[::16, ::16] = False
    noise = 10.0 if case == "noise" else 0.0
    assert estimate_by_reference(measure_spectra(lr, ref, SCALE, valid, noise)) is None


def test_windows_are_joined_and_blocks_under_clouds_left_out() -> None:
    hr = texture(5, 512)
    lr, valid = decimate(hr, SCALE, 0.4), np.ones((64, 64), bool)
    valid[:20] = False
    whole, part = measure_spectra(lr, hr, SCALE), measure_spectra(lr, hr, SCALE, valid)
    assert len(whole.lr) == 9 and len(part.lr) == 3
    found = estimate_by_reference(joined([whole, part]))
    assert found is not None and found.n == 12 and found.value == pytest.approx(0.4, abs=0.03)


def test_a_scene_alone_gives_a_wide_interval() -> None:
    for true in TRUE:
        found = estimate_alone(measure_spectra(decimate(texture(6, 1024), SCALE, true), None, SCALE))
        assert found is not None and found.method == "spectrum" and true in found
        assert 0.1 < found.high - found.low <= 0.4


@pytest.mark.parametrize(("offset_px", "acts_like"), [(0, 0.4), (2, 0.27), (3, 0.17), (4, 0.13)])
def test_reading_lr_beside_its_pixels_costs_mtf_and_is_corrected(offset_px: int, acts_like: float) -> None:
    part = offset_px / SCALE
    assert after_cubic(0.4, ((part, part),)) == pytest.approx(acts_like, abs=0.01)
    hr = texture(7, 1024)
    own = decimate(np.roll(hr, (offset_px, offset_px), (1, 2)), SCALE, 0.4)
    spectra = measure_spectra(cubic_at(own, part, part), hr, SCALE, margin_px=4)
    as_read, corrected = estimate_by_reference(spectra), estimate_by_reference(spectra, ((part, part),))
    assert as_read is not None and as_read.value == pytest.approx(acts_like, abs=0.04)
    assert corrected is not None and corrected.value == pytest.approx(0.4, abs=0.03) and 0.4 in corrected


def test_several_estimates_keep_the_width_of_one() -> None:
    pairs = [MtfEstimate(0.3 + d, 0.2 + d, 0.4 + d, 9, "reference") for d in (0.0, 0.02, 0.2)]
    alone = MtfEstimate(0.6, 0.4, 0.63, 9, "spectrum")
    assert middle_of([*pairs, alone]) == MtfEstimate(0.32, 0.22, 0.42, 27, "reference")
    assert middle_of([alone]) == alone and middle_of([]) is None


Found = list[tuple[float, float, MtfEstimate | None, MtfEstimate | None]]


@cache
def of_validation_pairs(data: Path) -> Found:
    """(correlation of the high bands, true MTF, against the reference, alone) of the validation pairs as they are."""
    found: Found = []
    for scene in read_pairs(data, "val"):
        assert scene.ref is not None
        hr, ref = scaled(scene.hr, SCALE), scaled(scene.ref, SCALE)
        detail: list[NDArray[np.float32]] = [
            high_band(picture.mean(0, keepdims=True), SCALE, EVALUATION_MTF)[0, 16:-16, 16:-16].ravel()
            for picture in (hr, ref)
        ]
        agreement = float(np.corrcoef(*detail)[0, 1])
        for true in TRUE:
            spectra = measure_spectra(decimate(hr, SCALE, true), ref, SCALE)
            found.append((agreement, true, estimate_by_reference(spectra), estimate_alone(spectra)))
    return found


@pytest.mark.shared
@pytest.mark.parametrize("true", TRUE)
@pytest.mark.parametrize(("agreement", "given"), [((0.4, 1.0), 0.95), ((0.2, 0.4), 0.95), ((-1.0, 0.2), 0.6)])
def test_real_pairs_show_the_true_mtf(true: float, agreement: tuple[float, float], given: float, shared: Path) -> None:
    all_pairs = [
        e for c, mtf, e, _ in of_validation_pairs(shared / "train") if mtf == true and agreement[0] <= c < agreement[1]
    ]
    found = [e for e in all_pairs if e is not None]
    assert len(all_pairs) > 40 and len(found) >= given * len(all_pairs)
    errors = np.array([e.value - true for e in found])
    assert abs(np.median(errors)) <= 0.03 and abs(errors.mean()) <= 0.05
    assert np.mean([true in e for e in found]) >= LEVEL - 0.05


@pytest.mark.shared
@pytest.mark.parametrize("true", TRUE)
def test_real_scenes_alone_are_a_weak_and_honest_witness(true: float, shared: Path) -> None:
    found = [e for _, mtf, _, e in of_validation_pairs(shared / "train") if mtf == true]
    given = [e for e in found if e is not None]
    assert len(given) >= 0.9 * len(found)
    assert abs(np.mean([e.value - true for e in given])) <= 0.1
    assert np.mean([true in e for e in given]) >= LEVEL - 0.05
