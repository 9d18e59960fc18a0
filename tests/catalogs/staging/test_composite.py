"""Composites: the first valid candidate, and the median of three; the same in every window, and its scene is near."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from catalogs.choose.overpasses import group_overpasses
from catalogs.staging.composite import Picture, compose
from catalogs.staging.stage import Reader, read_scenes
from dsdit.grid import Grid
from dsdit.lattice.tiling import CELL_LR_PX
from dsdit.plan.candidates import CellChoice
from dsdit.plan.files import read_plan, write_plan
from dsdit.status import LrState
from dsdit.window import Window
from tests.catalogs.choose.test_choosing import item
from tests.catalogs.read.test_scene import write
from tests.support.scenes import image_item, image_source, scenes_plan

SHAPE = (5, 8)


def picture(level: float, invalid: tuple[int, ...] = (), cloud: bool = False) -> Picture:
    """One value everywhere, invalid in some columns."""
    valid = np.ones(SHAPE, bool)
    valid[:, list(invalid)] = False
    values = np.where(valid, np.float32(level), np.float32(np.nan)) * np.array([1, 2, 3], np.float32)[:, None, None]
    return values, valid, ~valid & cloud


def test_an_outlier_is_removed_where_three_scenes_are_valid_and_the_first_is_taken_elsewhere() -> None:
    pictures = [picture(0.9), picture(0.21), picture(0.2, (0, 1)), picture(0.3, (1,))]
    values, state, items = compose("median", SHAPE, iter(enumerate(pictures, 10)))
    assert (state == LrState.VALID).all()
    assert values[0, 0].tolist() == [np.float32(0.3), np.float32(0.9), *[np.float32(0.21)] * 6]
    assert items[0].tolist() == [13, 10, *[11] * 6]
    assert (values[2] == values[0] * 3).all()
    first, _, numbers = compose("first", SHAPE, iter(enumerate(pictures, 10)))
    assert (first[0] == np.float32(0.9)).all() and (numbers == 10).all()


def test_states_are_those_of_the_candidates() -> None:
    everywhere = tuple(range(SHAPE[1]))
    for composite in ("first", "median"):
        _, state, items = compose(composite, SHAPE, iter([(0, picture(0.1, everywhere, cloud=True))]))
        assert (state == LrState.CLOUDY).all() and (items == -1).all()
        _, state, _ = compose(composite, SHAPE, iter([(0, picture(0.1, everywhere))]))
        assert (state == LrState.NO_DATA).all()
        _, state, _ = compose(composite, SHAPE, iter([(0, None), (1, picture(0.1, (3,), cloud=True))]))
        assert (state[:, 3] == LrState.UNREADABLE).all()
        assert (np.delete(state, 3, 1) == LrState.VALID).all()


def test_no_more_is_read_than_the_composite_looks_at() -> None:
    for composite, requested in (("first", 1), ("median", 3)):
        numbers = iter(range(4))
        compose(composite, SHAPE, ((n, picture(0.1 * n)) for n in numbers))
        assert 4 - len(list(numbers)) == requested


def test_scenes_of_one_overpass_count_once() -> None:
    """Two tiles of one pass with the same cloud that no mask saw, and two other days."""
    pictures = [picture(0.9, (0,)), picture(0.9), picture(0.2), picture(0.21)]
    moments = ["2024-07-06T10:20:21+00:00", "2024-07-06T10:20:28+00:00", "2024-07-01T10:20:21+00:00"]
    taken = [datetime.fromisoformat(when) for when in (*moments, "2024-06-26T10:20:21+00:00")]
    scenes = [replace(item(k, 0, "lr"), when=when, platform="a") for k, when in enumerate(taken)]
    passes = group_overpasses(scenes)
    assert passes == (0, 0, 2, 3)
    assert group_overpasses([replace(one, platform=None) for one in scenes]) == (0, 1, 2, 3)
    values, _, items = compose("median", SHAPE, iter(enumerate(pictures)), dict(enumerate(passes)))
    assert (values[0] == np.float32(0.21)).all() and (items == 3).all()
    apart, _, _ = compose("median", SHAPE, iter(enumerate(pictures)))
    assert (apart[0, :, 1:] == np.float32(0.9)).all()


PARTS = st.lists(
    st.tuples(hnp.arrays(bool, SHAPE), hnp.arrays(bool, SHAPE), st.booleans(), st.integers(0, 2)),
    min_size=1,
    max_size=4,
)


@given(PARTS, st.sampled_from(["first", "median"]))
def test_every_pixel_has_a_scene_or_a_reason_and_a_scene_behind_changes_no_pixel_of_first(
    parts: list[tuple[NDArray[np.bool_], NDArray[np.bool_], bool, int]], composite: str
) -> None:
    pictures: list[Picture | None] = []
    for k, (valid, cloud, read, _) in enumerate(parts):
        values = np.where(valid, np.float32(k + 1), np.float32(np.nan)) * np.ones((3, 1, 1), np.float32)
        pictures.append((values, valid, cloud & ~valid) if read else None)
    passes = {k: part[3] for k, part in enumerate(parts)}
    values, state, items = compose(composite, SHAPE, iter(enumerate(pictures)), passes)
    seen = np.array([p[1] if p else np.zeros(SHAPE, bool) for p in pictures])
    assert ((state == LrState.VALID) == seen.any(0)).all()
    assert ((items >= 0) == seen.any(0)).all() and (np.isfinite(values).all(0) == seen.any(0)).all()
    assert np.take_along_axis(seen, np.maximum(items, 0)[None].astype(np.int64), 0)[0][items >= 0].all()
    without = ~seen.any(0)
    if any(p is None for p in pictures):
        assert (state[without] == LrState.UNREADABLE).all()
    else:
        cloudy = np.array([p[2] for p in pictures if p]).any(0)
        assert (state[without] == np.where(cloudy, LrState.CLOUDY, LrState.NO_DATA)[without]).all()
    first, _, _ = compose("first", SHAPE, iter(enumerate(pictures[:-1])), passes)
    more, _, _ = compose("first", SHAPE, iter(enumerate(pictures)), passes)
    had = np.isfinite(first).all(0)
    np.testing.assert_array_equal(more[:, had], first[:, had])


VALUES = hnp.arrays(np.float32, (3, 3, 4, 5), elements=st.floats(0, 1, width=32))


@given(VALUES, st.permutations(range(3)))
def test_a_median_is_numpys_and_does_not_depend_on_the_order(values: NDArray[np.float32], order: list[int]) -> None:
    whole = np.ones((4, 5), bool)
    median, _, items = compose("median", (4, 5), ((k, (values[k], whole, ~whole)) for k in order))
    np.testing.assert_array_equal(median, np.median(values, axis=0))
    apart = np.abs(values - median).sum(axis=1)
    chosen = np.take_along_axis(apart, items[None].astype(np.int64), 0)[0]
    np.testing.assert_array_equal(chosen, apart.min(axis=0))


def test_a_plan_with_the_median_is_another_plan_and_reads_the_same_in_every_window(tmp_path: Path) -> None:
    grid, window = Grid("EPSG:32632", 1.25, 8), Window(-40, 216, 50, 296)
    stored = [2000 + np.random.default_rng(k).integers(0, 900, (3, *window.shape)) for k in range(4)]
    stored[1][:, 20:40, 30:50] = 9000
    stored[2][:, 60:] = 0
    items = [
        image_item(write(tmp_path / f"{k}.tif", v.astype(np.uint16), grid.lr_geobox(window).affine), tmp_path, k)
        for k, v in enumerate(stored)
    ]
    source = image_source(tmp_path, nodata=0)
    cells = {cell: CellChoice((1, 2, 0, 3)) for cell in window.coarsen(CELL_LR_PX).indices()}
    first = scenes_plan(source, items, grid, window, cells)
    plan = replace(first, composite="median")
    job = plan.layout.mosaic_jobs[0]
    assert plan.stage_digest(job) != first.stage_digest(job)
    assert plan.job_digest(job) != first.job_digest(job)
    assert read_plan(write_plan(plan, str(tmp_path / "plans"))).composite == "median"
    values, state, chosen = read_scenes(plan, Reader(plan), window)
    assert (state == LrState.VALID).all()
    used = [stored[1], np.where(np.arange(len(stored[0][0]))[:, None] < 60, stored[2], stored[3]), stored[0]]
    np.testing.assert_allclose(values, np.median(used, axis=0) * 1e-4, rtol=1e-5)
    assert not (chosen[20:40, 30:50] == 1).any()
    assert set(np.unique(chosen)) == {0, 1, 2, 3}
    part = Window(window.row0 + 5, window.col0 + 7, window.row1 - 3, window.col0 + 60)
    for one, all_ in zip(read_scenes(plan, Reader(plan), part), (values, state, chosen), strict=True):
        np.testing.assert_array_equal(one, all_[(..., *part.within(window))])
