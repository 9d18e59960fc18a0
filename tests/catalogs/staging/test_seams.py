"""Seams between LR scenes: on lines of the lattice, taken out by balancing, one answer whatever the region."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from scipy.ndimage import maximum_filter, minimum_filter

from catalogs.measure.cover_and_fit import item_window, measure_fit
from catalogs.staging.stage import Reader, read_references, read_scenes
from dsdit.grid import Grid
from dsdit.lattice.tiling import CELL_LR_PX
from dsdit.plan.candidates import CellChoice
from dsdit.plan.files import read_plan, write_plan
from dsdit.plan.pair_fits import Fit, Fits
from dsdit.plan.plan import Plan
from dsdit.plan.seams import balance, seam_pairs
from dsdit.status import LrState
from dsdit.window import Index, Window
from tests.catalogs.read.test_scene import write
from tests.support.scenes import LATTICE, SCALE, image_item, image_source, scenes_plan

CITIES = {"montpellier": "EPSG:32631", "rennes": "EPSG:32630", "rio": "EPSG:32723", "valencia": "EPSG:32630"}


class Step(NamedTuple):
    """What is seen at a line, as a mean over rows and bands, in reflectance."""

    jump: float
    """Of the signed difference across the line, beyond that of the lines beside it."""
    contrast: float
    """Of the absolute difference across the line, over that of the lines beside it."""


def step_at(values: NDArray[np.float32], col: int) -> Step:
    """The step between columns `col` - 1 and `col` of (band, y, x); NaN pixels are left out."""
    across = np.diff(values, axis=2)
    beside = np.concatenate([across[:, :, col - 25 : col - 3], across[:, :, col + 2 : col + 24]], axis=2)
    jump = np.nanmean(across[:, :, col - 1], axis=1) - np.nanmean(beside, axis=(1, 2))
    return Step(
        float(np.abs(jump).mean()), float(np.nanmean(np.abs(across[:, :, col - 1])) / np.nanmean(np.abs(beside)))
    )


def halves(shared: Path, city: str) -> tuple[Plan, Window, int]:
    """A plan in which cells left of a line take the first date and the others the second; its window and the line."""
    folder, grid = shared / "geo" / f"oscd_{city}", Grid(CITIES[city], 1.25, 8)
    items = [image_item(path, folder, 500 * k) for k, path in enumerate(sorted(folder.glob("*.tif")))]
    source = image_source(folder)
    window = item_window(items[0], grid)
    cells = window.coarsen(CELL_LR_PX)
    lines = [col * CELL_LR_PX for col in range(cells.col0 + 1, cells.col1)]
    line = min(lines, key=lambda col: abs(col - (window.col0 + window.col1) / 2))
    choices = {c: CellChoice((0, 1) if c.col < line // CELL_LR_PX else (1, 0)) for c in cells.indices()}
    plan = scenes_plan(source, items, grid, window, choices)
    pairs = [(0, 1), (1, 0)]
    assert [(key >> 32, key & 0xFFFFFFFF) for key in seam_pairs(plan.cells).tolist()] == pairs
    fits = {(a, b): measure_fit(items[a], source, items[b], source, grid) for a, b in pairs}
    return replace(plan, seams=Fits.of(fits)), window, line


@pytest.mark.shared
@pytest.mark.parametrize("city", CITIES)
def test_the_step_between_two_dates_of_one_place(shared: Path, city: str) -> None:
    plan, window, line = halves(shared, city)
    pictures = {}
    for name, seams in (("apart", Fits.of({})), ("balanced", plan.seams)):
        these = replace(plan, seams=seams)
        pictures[name], _, item = read_scenes(these, Reader(these), window)
        assert set(np.unique(item[:, : line - window.col0])) <= {-1, 0}
        assert set(np.unique(item[:, line - window.col0 :])) <= {-1, 1}
    before, after = (step_at(pictures[name], line - window.col0) for name in ("apart", "balanced"))
    print(f"{city}: jump {before.jump:.4f} -> {after.jump:.4f}, contrast {before.contrast:.3f} -> {after.contrast:.3f}")
    assert before.jump > 0.01
    assert after.jump < 0.5 * before.jump
    assert after.contrast < before.contrast


def made(folder: Path) -> Plan:
    """Three scenes of one ground under other gains and offsets, 512 x 768 LR pixels around a corner of cells."""
    rows, cols = np.mgrid[:512, :768]
    ground = 2000 + 600 * np.sin(rows / 17) * np.cos(cols / 23)
    items, grid = [], Grid("EPSG:32632", 1.25, 8)
    window = Window(-256, 256, 256, 1024)
    affine = grid.lr_geobox(window).affine
    for k, (gain, offset) in enumerate(((1.0, 0.0), (1.3, 100.0), (0.8, 300.0))):
        stored = np.stack([ground * gain + offset] * 3).round().astype(np.uint16)
        items.append(image_item(write(folder / f"{k}.tif", stored, affine, grid.crs), folder, k))
    source = image_source(folder, nodata=None)
    choices = {c: CellChoice((order, (order + 1) % 3)) for c, order in zip(CELLS, (0, 1, 2, 0, 0, 1), strict=True)}
    plan = scenes_plan(source, items, grid, window, choices)
    pairs = [(key >> 32, key & 0xFFFFFFFF) for key in seam_pairs(plan.cells).tolist()]
    fits = {(a, b): measure_fit(items[a], source, items[b], source, grid) for a, b in pairs}
    return replace(plan, seams=Fits.of(fits))


CELLS = [Index(row, col) for row in (-1, 0) for col in (1, 2, 3)]
WINDOW = Window(-256, 256, 256, 1024)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return made(tmp_path_factory.mktemp("seams"))


def test_scenes_that_differ_by_gain_and_offset_meet_without_a_step(plan: Plan) -> None:
    apart, _, _ = read_scenes(replace(plan, seams=Fits.of({})), Reader(plan), WINDOW)
    values, _, _ = read_scenes(plan, Reader(plan), WINDOW)
    for picture, limits in ((apart, (0.01, 1.0)), (values, (-1.0, 2e-3))):
        down, right = np.abs(np.diff(picture, axis=1)), np.abs(np.diff(picture, axis=2))
        lines = [down[:, 255, 256:512].mean(), right[:, :256, 255].mean(), right[:, :256, 511].mean()]
        beside = [down[:, 200:250].mean(), right[:, :, 200:250].mean(), right[:, :, 450:500].mean()]
        assert all(limits[0] < line - inside < limits[1] for line, inside in zip(lines, beside, strict=True))
    centre = (slice(None), 128, 128)
    np.testing.assert_allclose(values[centre], apart[centre], rtol=0.02)


def test_every_window_is_balanced_the_same(plan: Plan) -> None:
    whole, _, _ = read_scenes(plan, Reader(plan), WINDOW)
    for part in (Window(-13, 500, 40, 530), Window(-256, 300, -200, 900), Window(100, 760, 101, 800)):
        values, _, _ = read_scenes(plan, Reader(plan), part)
        np.testing.assert_array_equal(values, whole[(slice(None), *part.within(WINDOW))])


def test_a_part_has_the_digests_and_pixels_of_the_whole(plan: Plan) -> None:
    """Cells around the middle of the upper row: all that a region there would choose, neighbours included."""
    near = {c: plan.cells[c] for c in CELLS if c.col < 3}
    part = replace(plan, cells=type(plan.cells).of(near))
    own = Window(-1, 1, 0, 2)
    np.testing.assert_array_equal(part.cell_digests(own), plan.cell_digests(own))
    place = Window(-256, 256, 0, 512)
    values = [read_scenes(p, Reader(p), place)[0] for p in (part, plan)]
    np.testing.assert_array_equal(*values)


def test_digests_hear_of_a_neighbours_choice_and_of_a_fit(plan: Plan) -> None:
    own = Window(-1, 1, 0, 2)
    before = plan.cell_digests(own)
    other = {c: plan.cells[c] for c in CELLS} | {Index(0, 2): CellChoice((1, 0))}
    assert (replace(plan, cells=type(plan.cells).of(other)).cell_digests(own) != before).any()
    fits = dict(plan.seams) | {(0, 1): Fit((1.1,) * 3, (0.0,) * 3, 99)}
    assert (replace(plan, seams=Fits.of(fits)).cell_digests(own) != before).any()
    far = Window(0, 3, 1, 4)
    assert (replace(plan, cells=type(plan.cells).of(other)).cell_digests(far) != plan.cell_digests(far)).any()


def test_a_cell_without_a_measured_pair_is_as_it_was_before_the_first_seam(plan: Plan) -> None:
    """Scenes 0 | 2 | 2 from left to right: the third column of cells has nothing but scene 2 around."""
    choices = {c: CellChoice((0,) if c.col == 1 else (2,)) for c in CELLS}
    apart = replace(plan, cells=type(plan.cells).of(choices), seams=Fits.of({}))
    pairs = [(key >> 32, key & 0xFFFFFFFF) for key in seam_pairs(apart.cells).tolist()]
    assert pairs == [(0, 2), (2, 0)]
    unmeasured = {pair: Fit() for pair in pairs}
    for seams, columns in (
        (unmeasured, 0),
        (unmeasured | {(0, 2): plan.seams[0, 2]}, 1),
        ({(1, 2): Fit(samples=9)}, 0),
    ):
        met = replace(apart, seams=Fits.of(seams))
        own = Window(-1, 1, 1, 4)
        same = (met.cell_digests(own) == apart.cell_digests(own)).all(-1)
        assert same[:, columns:].all()
        assert not same[:, :columns].any()
        values = [read_scenes(p, Reader(p), WINDOW)[0] for p in (apart, met)]
        np.testing.assert_array_equal(*(v[:, :, columns * 256 :] for v in values))
        assert columns == 0 or not np.array_equal(*values)


def test_a_reference_goes_with_its_scene(plan: Plan, tmp_path: Path) -> None:
    """A reference that is the first scene itself, fitted to each scene, shows what balanced LR shows."""
    items = [*plan.items, {**plan.items[0], "id": "reference", "digest": "reference"}]
    cells = {c: CellChoice(choice.lr, (3,)) for c, choice in plan.cells.items()}
    fits = {(3, k): plan.seams.get((0, k), Fit()) for k in range(3)}
    both = replace(plan, items=type(plan.items).of(items), cells=type(plan.cells).of(cells), fits=Fits.of(fits))
    place = Window(-40, 480, -30, 540)
    lr, _, item = read_scenes(both, Reader(both), place)
    ref, ref_item = read_references(both, Reader(both), place.refine(LATTICE.scale), item)
    assert (ref_item == 3).all()
    blocks = ref.reshape(3, place.shape[0], 8, place.shape[1], 8).mean((2, 4))
    np.testing.assert_allclose(blocks, lr, atol=4e-4)


def test_a_plan_on_disk_has_its_seams(plan: Plan, tmp_path: Path) -> None:
    back = read_plan(write_plan(plan, str(tmp_path)))
    assert back.digest == plan.digest
    assert dict(back.seams) == dict(plan.seams)
    assert replace(plan, seams=Fits.of({})).digest != plan.digest


def test_pixels_far_from_another_scene_stay_as_they_are() -> None:
    values = np.full((3, 4, 5), 0.2, np.float32)
    near = np.full((3, 3), 7, np.int32)
    place = Window(10, 20, 14, 25)
    assert balance(values, 7, near, Fits.of({}), place, Index(0, 0), CELL_LR_PX) is values
    near[0, 0] = 8
    fits = Fits.of({(7, 8): Fit((2.0,) * 3, (0.0,) * 3, 99)})
    out = balance(values, 7, near, fits, place, Index(0, 0), CELL_LR_PX)
    down, right = 0.5 - 10.5 / CELL_LR_PX, 0.5 - 20.5 / CELL_LR_PX
    assert out[0, 0, 0] == pytest.approx(0.2 * (1 + down * right), rel=1e-5)
    far = balance(values, 7, near, fits, Window(128, 20, 132, 25), Index(0, 0), CELL_LR_PX)
    np.testing.assert_allclose(far, values, rtol=1e-6)


def ground_at(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, ...) dn of a made ground at places of EPSG:32632: waves of 70 to 150 pixels of 10 m."""
    return np.stack([3000 + 900 * np.sin(x / k) * np.cos(y / (k + 30)) for k in (110.0, 170.0, 240.0)])


def cut(path: Path, crs: str, west: float, east: float, middle_y: float) -> Path:
    """The made ground as a file of 10 m pixels of its own zone, 400 rows around `middle_y`, between two eastings."""
    col0, col1, row0 = round(west / 10), round(east / 10), -round(middle_y / 10) - 200
    cols, rows = np.meshgrid(np.arange(col0, col1) + 0.5, np.arange(row0, row0 + 400) + 0.5)
    place = Transformer.from_crs(crs, "EPSG:32632", always_xy=True).transform(cols * 10, -rows * 10)
    stored = ground_at(*map(np.asarray, place)).round().astype(np.uint16)
    return write(path, stored, Affine(10, 0, col0 * 10, 0, -10, -row0 * 10), crs)


@pytest.mark.parametrize("first", ["west", "east"])
@pytest.mark.parametrize("overlap_px", [60, 12])
def test_one_ground_in_two_utm_zones_has_no_seam(tmp_path: Path, first: str, overlap_px: int) -> None:
    """A scene that straddles zones 32 and 33 comes as a file of each, cut at 12 degrees east with some overlap.

    All is the ground within 1 DN but the last two pixels of a file that is warped: GDAL makes them of what it still
    has of their kernels, whose middle lies up to half a pixel inwards.
    """
    grid, lonlat = Grid("EPSG:32632", 1.25, 8), "EPSG:4326"
    (x32, y32), (x33, y33) = (
        Transformer.from_crs(lonlat, crs, always_xy=True).transform(12.0, 48.0) for crs in ("EPSG:32632", "EPSG:32633")
    )
    half = overlap_px * 5
    west = cut(tmp_path / "west.tif", "EPSG:32632", x32 - 1500, x32 + half, y32)
    east = cut(tmp_path / "east.tif", "EPSG:32633", x33 - half, x33 + 1500, y33)
    line, middle = round(x32 / 10), -round(y32 / 10)
    window = Window(middle - 60, line - 90, middle + 60, line + 90)
    items = [image_item(path, tmp_path, 0) for path in (west, east)]
    order = (0, 1) if first == "west" else (1, 0)
    choices = {cell: CellChoice(order) for cell in window.coarsen(CELL_LR_PX).indices()}
    plan = scenes_plan(image_source(tmp_path, nodata=None), items, grid, window, choices)
    values, state, item = read_scenes(plan, Reader(plan), window)
    assert (state == LrState.VALID).all()
    assert set(np.unique(item)) == {0, 1}
    assert (item[:, 0] == 0).all() and (item[:, -1] == 1).all()
    cols, rows = np.meshgrid(np.arange(window.col0, window.col1) + 0.5, np.arange(window.row0, window.row1) + 0.5)
    truth = ground_at(cols * 10, -rows * 10) * SCALE
    apart = np.abs(values - truth)
    border = maximum_filter(item, 5) != minimum_filter(item, 5)
    assert apart[:, ~border].max() <= SCALE
    half_a_pixel = 0.5 * np.abs(np.diff(truth, axis=2)).max()
    assert apart.max() <= (SCALE if first == "west" else half_a_pixel)
    seam = int(np.argmax(item[60] == 1))
    assert 25 < seam < 150
    step, inherent = step_at(values, seam), step_at(truth.astype(np.float32), seam)
    assert abs(step.jump - inherent.jump) < (0.2 if first == "west" else 2) * SCALE
    assert step.contrast == pytest.approx(inherent.contrast, abs=0.03)
