"""A reference that lies beside its place is found out from LR, and laid where it belongs as it is staged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from catalogs.item import SceneItem, scene_item
from catalogs.measure.registration import (
    MAX_WINDOWS,
    decide,
    measure_registration,
    registration_measures,
    registration_windows,
)
from catalogs.read.scene import read_bands, read_mask
from catalogs.search.local_catalog import local_items
from catalogs.source import Source, load_source
from catalogs.staging.stage import Reader, read_references, stage
from dsdit.errors import RequestError
from dsdit.grid import Grid
from dsdit.imaging.sensor import EVALUATION_MTF
from dsdit.imaging.shift import PairShift
from dsdit.plan.pair_fits import Correction, Fit, Fits, Registration
from dsdit.plan.plan import Plan
from dsdit.steps.publish.report import make_report
from dsdit.window import Window
from flows.plan.cost import price
from flows.plan.make_plan import make_plan
from flows.request.request import load_request, make_request
from tests.conftest import box
from tests.support.displaced import displaced, truth
from tests.support.running import NOW, prepare, sample_record

GRID = Grid("EPSG:32632", 1.25, 8)
WHOLE = box(100.0, 340.0, 420.0, 100.0)
PART = box(151.2, 266.2, 287.5, 143.7)
SHIFTS = [(0.6, -0.4), (3.0, -2.5)]


def both(folder: Path) -> tuple[SceneItem, Source, SceneItem, Source]:
    """The displaced reference and the first scene, with their sources."""
    sources = [load_source(name).at(folder / "items.json") for name in ("sample-ref", "sample-lr")]
    (ref, *_), (lr, *_) = ([scene_item(item, source) for item in local_items(source)] for source in sources)
    return ref, sources[0], lr, sources[1]


def plan_of(folder: Path, weights: Path, output: Path, bounds: Any = WHOLE, **ref: Any) -> Plan:
    record = sample_record(folder, weights, output, bounds)
    record["ref"].update(ref)
    return make_plan(make_request(record), NOW, lambda _: None)


def staged(plan: Plan, window: Window) -> NDArray[np.float32]:
    """The reference on a window of HR pixels, where one scene is on all of it."""
    lr = np.full(window.coarsen(8).shape, plan.cells[next(iter(plan.cells))].lr[0], np.int32)
    return read_references(plan, Reader(plan), window, lr)[0]


def off_by(picture: NDArray, wanted: NDArray) -> tuple[float, float]:
    """(dy, dx) by which `picture` lies beside `wanted`, in pixels: one least-squares step on HR gradients."""
    a, b = (gaussian_filter(p.mean(0), 2.0)[8:-8, 8:-8] for p in (wanted, picture))
    down, right = np.gradient(b)
    rows = np.stack([down.ravel(), right.ravel()], 1)
    dy, dx = np.linalg.lstsq(rows, (a - b).ravel(), rcond=None)[0]
    return float(dy), float(dx)


@pytest.mark.parametrize(("dy", "dx"), SHIFTS)
def test_a_known_displacement_is_measured_and_taken_out(
    dy: float, dx: float, catalog: Path, weights: Path, tmp_path: Path
) -> None:
    folder = displaced(catalog, tmp_path / "sample", dy, dx)
    found = measure_registration(*both(folder), GRID)
    assert (found.dy, found.dx) == pytest.approx((dy, dx), abs=0.25)
    assert found.windows >= 3 and found.agreement > 0.9 and found.residual < 0.25

    window = GRID.window_of(WHOLE, 1.25).coarsen(8).refine(8)
    values, transform = truth(catalog)
    row, col = round((-transform.f) / 1.25), round(transform.c / 1.25)
    place = window.within(Window(row, col, row + values.shape[1], col + values.shape[2]))
    wanted = values[(slice(None), *place)]
    plan = plan_of(folder, weights, tmp_path / "apply")
    assert set(plan.fits.count_corrections()) == {Correction.APPLIED}
    assert np.abs(off_by(staged(plan, window), wanted)).max() < 0.3
    untouched = plan_of(folder, weights, tmp_path / "measure", registration="measure")
    assert set(untouched.fits.count_corrections()) == {Correction.NOT_REQUESTED}
    if max(abs(dy), abs(dx)) < 1:
        assert off_by(staged(untouched, window), wanted) == pytest.approx((dy, dx), abs=0.15)


def test_moving_is_exact_and_takes_the_mask_along(catalog: Path, tmp_path: Path) -> None:
    values, _ = truth(catalog)
    hole = values.copy()
    there, away = (both(displaced(catalog, tmp_path / f"s{dy}", dy, 2 * dy, hole)) for dy in (0, 3))
    for folder in ("s0", "s3"):
        with rasterio.open(tmp_path / folder / "displaced.tif") as file:
            profile, dn = file.profile, file.read()
        dn[:, 600:700, 640:900] = 0
        with rasterio.open(tmp_path / folder / "displaced.tif", "w", **profile) as file:
            file.write(dn)
    geobox = GRID.hr_geobox(GRID.window_of(WHOLE, 1.25))
    back = (-6 * 1.25, 3 * 1.25)
    expected, valid = read_bands(there[0], there[1], geobox, "bilinear")
    assert valid.any() and not valid.all()
    moved, moved_valid = read_bands(away[0], away[1], geobox, "bilinear", back)
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(moved_valid, valid)
    np.testing.assert_array_equal(read_mask(away[0], away[1], geobox, back), read_mask(there[0], there[1], geobox))


def test_one_place_has_one_shift_and_one_picture(catalog: Path, weights: Path, tmp_path: Path) -> None:
    folder = displaced(catalog, tmp_path / "sample", *SHIFTS[0])
    whole = plan_of(folder, weights, tmp_path / "whole")
    part = plan_of(folder, weights, tmp_path / "part", PART)
    fits = {(w.items[r]["id"], w.items[s]["id"]): fit for w in (whole,) for (r, s), fit in w.fits.items()}
    for (r, s), fit in part.fits.items():
        assert fits[part.items[r]["id"], part.items[s]["id"]] == fit
    inner = GRID.window_of(PART, 1.25).coarsen(8).refine(8)
    outer = GRID.window_of(WHOLE, 1.25).coarsen(8).refine(8)
    expected = staged(whole, outer)[(slice(None), *inner.within(outer))]
    np.testing.assert_array_equal(staged(part, inner), expected)


@pytest.mark.parametrize("case", ["flat", "another land"])
def test_no_shift_is_accepted_for_a_reference_that_shows_nothing_of_the_scene(
    case: str, catalog: Path, tmp_path: Path
) -> None:
    values, _ = truth(catalog)
    picture = np.full_like(values, 0.2) if case == "flat" else values[:, ::-1, ::-1]
    found = measure_registration(*both(displaced(catalog, tmp_path / "sample", 1.0, 1.0, picture)), GRID)
    assert (found.dy, found.dx, found.windows) == (0.0, 0.0, 0)
    assert found.seen >= 3 and found.agreement < 0.6
    assert decide(found, GRID, 8.0, True).correction is Correction.UNSURE


def test_a_shift_above_the_limit_is_flagged_and_not_moved(catalog: Path, weights: Path, tmp_path: Path) -> None:
    folder = displaced(catalog, tmp_path / "sample", 3.0, -2.5)
    plan = plan_of(folder, weights, tmp_path / "output", max_shift_px=3.0)
    assert set(plan.fits.count_corrections()) == {Correction.TOO_FAR}
    assert all(fit.registration.corrected_m == (0.0, 0.0) for fit in plan.fits.values())
    count, first, *_ = price(plan)["registration"]
    assert count.endswith("above the limit")
    assert first.startswith("ref-displaced on s2-") and "above the limit" in first and "not moved" in first
    length_m = float(first.split(" misregistered by ")[1].split(" m,")[0])
    assert length_m == pytest.approx(np.hypot(3.0, 2.5) * 1.25, abs=0.3)
    assert make_report(plan, str(tmp_path / "none")).registration == (count, first, *_)


def test_planned_again_reads_nothing(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = displaced(catalog, tmp_path / "sample", *SHIFTS[0])
    first = plan_of(folder, weights, tmp_path / "output")

    def refused(*_: Any) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr("catalogs.read.scene.with_file", refused)
    assert plan_of(folder, weights, tmp_path / "output").digest == first.digest


def test_only_what_moves_pixels_makes_jobs_due(catalog: Path, weights: Path, tmp_path: Path) -> None:
    folder = displaced(catalog, tmp_path / "sample", *SHIFTS[0])
    plans = {way: plan_of(folder, weights, tmp_path / "out", registration=way) for way in ("off", "measure", "apply")}
    off, measure, apply = (plan.job_digests().tobytes() for plan in plans.values())
    assert off == measure != apply
    assert "registration" not in price(plans["off"])


def test_the_receipt_of_stage_has_the_residual(catalog: Path, weights: Path, tmp_path: Path) -> None:
    folder = displaced(catalog, tmp_path / "sample", *SHIFTS[0])
    _, plan, places = prepare(sample_record(folder, weights, tmp_path / "output", PART))
    receipt = stage(plan, next(iter(plan.layout.mosaic_jobs)), places.scratch)
    assert receipt.measures["shift_m"] == pytest.approx(np.hypot(*SHIFTS[0]) * 1.25, abs=0.3)
    assert 0 <= receipt.measures["shift_residual_m"] < 0.3
    assert receipt.measures["pairs_flagged"] == 0


@pytest.mark.parametrize("limits", [{"max_shift_px": 3.0}, {"registration": "measure"}])
def test_the_receipt_of_stage_has_what_is_not_corrected(
    catalog: Path, weights: Path, tmp_path: Path, limits: dict[str, Any]
) -> None:
    folder = displaced(catalog, tmp_path / "sample", 3.0, -2.5)
    record = sample_record(folder, weights, tmp_path / "output", PART)
    record["ref"].update(limits)
    _, plan, places = prepare(record)
    measures = stage(plan, next(iter(plan.layout.mosaic_jobs)), places.scratch).measures
    assert measures["shift_m"] == 0
    assert measures["shift_residual_m"] == pytest.approx(np.hypot(3.0, 2.5) * 1.25, abs=0.6)
    assert measures["shift_residual_m"] >= np.hypot(3.0, 2.5) * 1.25 - 0.3
    assert 0 <= measures["shift_spread_m"] < 0.3
    assert (measures["pairs_flagged"] > 0) == ("max_shift_px" in limits)


def test_measures_of_a_receipt_for_each_kind_of_correction() -> None:
    far = Registration(-9.0, 12.0, 0.9, 0.5, 4, Correction.TOO_FAR)
    moved = Registration(3.0, 4.0, 0.9, 0.25, 4, Correction.APPLIED)
    still = Registration(0.0, 0.125, 0.9, 0.125, 4, Correction.NOT_NEEDED)
    unsure = Registration(0.0, 0.0, 0.4, 0.0, 0, Correction.UNSURE)
    fits = Fits.of({(9, k): Fit(registration=r) for k, r in enumerate((far, moved, still, unsure, Registration()))})

    def reported(*numbers: int) -> dict[str, float]:
        return registration_measures(fits, {(9, k) for k in numbers})

    assert reported() == reported(17) == {}
    expected = {"shift_m": 5.0, "shift_spread_m": 0.5, "shift_residual_m": 15.5, "pairs_flagged": 2.0}
    assert reported(0, 1, 2, 3, 4) == expected
    assert reported(1, 2) == {"shift_m": 5.0, "shift_spread_m": 0.25, "shift_residual_m": 0.25, "pairs_flagged": 0.0}
    assert reported(2)["shift_residual_m"] == 0.25
    assert reported(3, 4) == {"shift_m": 0.0, "pairs_flagged": 1.0}


def test_windows_lie_on_the_lattice_in_both_footprints(catalog: Path, tmp_path: Path) -> None:
    ref, _, lr, _ = both(displaced(catalog, tmp_path / "sample", 0.0, 0.0))
    windows = registration_windows(ref, lr, GRID)
    assert 0 < len(windows) <= MAX_WINDOWS and len(set(windows)) == len(windows)
    assert all(w.shape == (32, 32) and not (w.row0 % 32 or w.col0 % 32) for w in windows)
    assert registration_windows(ref, lr, GRID) == windows


@pytest.mark.parametrize(
    ("found", "limit_px", "apply", "correction"),
    [
        (None, 8.0, True, Correction.NOT_MEASURED),
        (PairShift(), 8.0, True, Correction.NOT_MEASURED),
        (PairShift(agreement=0.3, seen=5), 8.0, True, Correction.UNSURE),
        (PairShift(1.0, 0.0, 0.9, 5, 5, 0.1), 8.0, True, Correction.APPLIED),
        (PairShift(1.0, 0.0, 0.9, 5, 5, 0.1), 8.0, False, Correction.NOT_REQUESTED),
        (PairShift(1.0, 0.0, 0.9, 5, 5, 0.1), 0.9, False, Correction.TOO_FAR),
        (PairShift(0.0, 0.1, 0.9, 5, 5, 0.1), 8.0, True, Correction.NOT_NEEDED),
        (PairShift(0.3, 0.2, 0.9, 1, 5, 0.0), 8.0, True, Correction.NOT_NEEDED),
    ],
)
def test_what_is_done_about_a_shift(
    found: PairShift | None, limit_px: float, apply: bool, correction: Correction
) -> None:
    assert decide(found, GRID, limit_px, apply).correction is correction


def test_what_a_person_writes(catalog: Path, weights: Path, tmp_path: Path) -> None:
    record = sample_record(catalog, weights, tmp_path / "output", WHOLE)

    def with_ref(**more: Any) -> dict[str, Any]:
        return {**record, "ref": {**record["ref"], **more}}

    path = tmp_path / "request.yaml"
    path.write_text(json.dumps(record).replace('"sample-ref"', '"sample-ref", "registration": off'))
    request = load_request(str(path))
    assert request.ref is not None and request.ref.registration == "off"
    with pytest.raises(RequestError, match=r"ref.registration: .*'apply', 'measure' or 'off' \(given 'always'\)"):
        make_request(with_ref(registration="always"))
    with pytest.raises(RequestError, match="max_shift_px is 40: shifts are looked for up to 16 HR pixels at scale 8"):
        make_request(with_ref(max_shift_px=40))


@pytest.mark.shared
@pytest.mark.parametrize(("city", "crs"), [("valencia", "EPSG:32630"), ("rio", "EPSG:32723")])
def test_two_real_dates_tell_the_same_shift_both_ways(city: str, crs: str, shared: Path) -> None:
    bands = {band: {"asset": "image", "index": k} for k, band in enumerate(("red", "green", "blue"), 1)}
    source = Source.model_validate(
        {
            "name": city, "role": "lr", "endpoint": str(shared / f"geo/oscd_{city}"), "bands": bands, "nodata": 0,
            "rule": {"kind": "fixed", "scale": 1e-4}, "gsd_m": 10, "mtf_nyquist": EVALUATION_MTF, "licence": "open",
            "attribution": "Copernicus", "derivatives": "yes",
        }
    )  # fmt: skip
    first, second = sorted((scene_item(item, source) for item in local_items(source)), key=lambda item: item.when)
    grid = Grid(crs, 10.0, 4)
    there = measure_registration(first, source, second, source, grid)
    back = measure_registration(second, source, first, source, grid)
    assert there.windows >= 3 and there.agreement > 0.8
    assert (there.dy, there.dx) == pytest.approx((-back.dy, -back.dx), abs=0.25)
