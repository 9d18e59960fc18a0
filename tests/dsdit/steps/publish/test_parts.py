"""Levels and overview: parts above changed shards are built again, with the bytes of a build of all parts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from zarr.core.buffer import default_buffer_prototype

from dsdit.imaging.radiometry import decode
from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.hard_links import link_tree
from dsdit.mosaic.template import level_count, level_url, mosaic_window
from dsdit.mosaic.versions import mosaic_store
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import compact_receipts
from dsdit.steps.publish import overview
from dsdit.steps.publish.parts import build_part, build_parts, changed_jobs, create_parts, due_batches
from dsdit.steps.publish.publish import publish
from dsdit.steps.publish.pyramid import level_window
from dsdit.steps.publish.report import make_report
from dsdit.store.arrays import forget_arrays, read_window
from dsdit.store.objects import join
from dsdit.window import Index, Window
from tests.support.running import NOW
from tests.support.shards import keep_receipts, make_mosaic, objects, plan_of, some_jobs, write_shards

CHANGED = {Index(-7, -19): 9, Index(2, 2): 8, Index(2, 3): 7, Index(12, 9): 6}
"""Two corners of the region, and neighbours that are below two parents."""


@pytest.fixture(params=[pytest.param(24, marks=pytest.mark.slow), 60], ids=["a pixel a shard", "pixels a shard"])
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A region that is too large to be shown from its own arrays."""
    monkeypatch.setattr(overview, "MOST_PX", request.param)
    monkeypatch.setattr(overview, "_CHUNK_PX", 8)
    made = plan_of()
    assert level_count(made) == 3 and overview.overview_factor(made) == {24: 8, 60: 4}[request.param]
    return made


def build(plan: Plan, mosaic: Path, changed: Jobs | None = None) -> None:
    create_parts(plan, str(mosaic))
    build_parts(plan, str(mosaic), plan.layout.mosaic_jobs if changed is None else changed)


def first_run(plan: Plan) -> dict[Index, int]:
    return dict.fromkeys([*some_jobs(plan), Index(2, 3)], 1)


def test_a_run_gives_the_bytes_of_a_full_build_and_writes_nothing_else(plan: Plan, tmp_path: Path) -> None:
    first, second, plain = (tmp_path / name for name in ("first", "second", "plain"))
    make_mosaic(plan, str(first), first_run(plan))
    build(plan, first)
    link_tree(first, second)
    write_shards(plan, str(second), CHANGED)
    build(plan, second, Jobs.of(list(CHANGED)))
    make_mosaic(plan, str(plain), {**first_run(plan), **CHANGED})
    build(plan, plain)
    assert objects(second) == objects(plain)
    names = [name for name in objects(second) if not name.startswith(("0/", "lr/"))]
    touched = {n for n in names if not (first / n).exists() or (first / n).stat().st_ino != (second / n).stat().st_ino}
    sizes = [batch.size for batch in due_batches(plan, Jobs.of(list(CHANGED)))]
    assert sizes[:2] == [4, 3] and sum(sizes[2:]) <= 4
    arrays = 2 * sum(sizes[:2]) + 3 * sizes[2]
    coordinates = {name for name in names if name.split("/")[1] in ("x", "y", "band", "spatial_ref")}
    assert len(touched) == arrays and not touched & coordinates and len(names) > 3 * arrays


def keys(store: object) -> dict[str, bytes]:
    async def read() -> dict[str, bytes]:
        found = [key async for key in store.list()]  # type: ignore[attr-defined]
        get = store.get  # type: ignore[attr-defined]
        return {key: (await get(key, default_buffer_prototype())).to_bytes() for key in found if "/c/" in key}

    return asyncio.run(read())


@pytest.mark.slow
@pytest.mark.parametrize("plan", [60], indirect=True)
def test_a_run_in_a_repository_gives_the_same_bytes(plan: Plan, tmp_path: Path) -> None:
    store, plain = mosaic_store(str(tmp_path / "out"), "icechunk"), tmp_path / "plain"
    for seeds in (first_run(plan), CHANGED):
        version = store.begin()
        with store.writing(version) as mosaic:
            make_mosaic(plan, mosaic, seeds)
            build(plan, mosaic, Jobs.of(list(seeds)))
        store.publish(version, 2)
    make_mosaic(plan, str(plain), {**first_run(plan), **CHANGED})
    build(plan, plain)
    assert keys(store.opened()) == objects(plain)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [60], indirect=True)
def test_parts_that_a_killed_publish_left_out_are_built_by_the_next_one(plan: Plan, tmp_path: Path) -> None:
    """The shards of a run are known from its receipts until a publish has joined them."""
    mosaic, receipts, plain = tmp_path / "mosaic.zarr", str(tmp_path / "receipts"), tmp_path / "plain"
    make_mosaic(plan, str(mosaic), first_run(plan))
    keep_receipts(plan, receipts, first_run(plan))
    report = make_report(plan, receipts)
    compact_receipts(receipts, "mosaic")
    assert len(changed_jobs(plan, str(mosaic), receipts)) == len(first_run(plan)), "no publish has built anything"
    publish(plan, str(tmp_path), report, NOW, changed=changed_jobs(plan, str(mosaic), receipts))
    assert len(changed_jobs(plan, str(mosaic), receipts)) == 0
    write_shards(plan, str(mosaic), CHANGED)
    keep_receipts(plan, receipts, CHANGED)
    batch = next(due_batches(plan, changed_jobs(plan, str(mosaic), receipts)))
    build_part(plan, str(mosaic), next(batch.parts))  # and here the run is killed
    last = Index(5, -3)
    write_shards(plan, str(mosaic), {last: 5})
    keep_receipts(plan, receipts, [last])
    due = changed_jobs(plan, str(mosaic), receipts)
    assert due == sorted([*CHANGED, last])
    publish(plan, str(tmp_path), report, NOW, changed=due)
    make_mosaic(plan, str(plain), {**first_run(plan), **CHANGED, last: 5})
    build(plan, plain)
    assert objects(mosaic) == objects(plain)


def test_the_overview_is_the_mean_of_the_pixels_that_have_a_value(plan: Plan, tmp_path: Path) -> None:
    make_mosaic(plan, str(tmp_path), first_run(plan))
    build(plan, tmp_path)
    forget_arrays()
    factor = overview.overview_factor(plan)
    assert factor is not None
    lr_first, region = mosaic_window(plan).coarsen(8), plan.region.window
    url, first = join(str(tmp_path), "overview"), overview.overview_window(plan, factor)
    lr, residual, sr = (
        overview.read_coarse(url, name, first, region.coarsen(8 * factor), 999) for name in ("lr", "residual", "sr")
    )
    for name, shown, tolerance in (("lr", lr, 5.1e-5), ("residual", residual, 1e-7)):
        fine = read_window(join(str(tmp_path), "lr"), name, lr_first, region.coarsen(8))
        blocks = (decode(fine) if name == "lr" else fine).reshape(3, 160 // factor, factor, 232 // factor, factor)
        with np.errstate(invalid="ignore"):
            expected = np.nansum(blocks, (2, 4)) / np.isfinite(blocks).sum((2, 4))
        np.testing.assert_allclose(shown, expected, atol=tolerance)
        assert np.isnan(shown).any() and np.isfinite(shown).any()
    fine = decode(read_window(level_url(str(tmp_path), 0), "sr", mosaic_window(plan), region))
    blocks = fine.reshape(3, fine.shape[1] // (8 * factor), 8 * factor, -1, 8 * factor)
    # Where values are missing each level averages those that it has, and rounds: a mean of means.
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(sr, np.nansum(blocks, (2, 4)) / np.isfinite(blocks).sum((2, 4)), atol=2e-3)


@pytest.mark.parametrize(("rows", "cols", "most"), [(37, 1000, 90), (1300, 700, 300), (64, 64, 64)])
def test_reading_in_blocks_gives_the_average_of_the_whole(rows: int, cols: int, most: int, tmp_path: Path) -> None:
    plan = plan_of(shards=Window(0, 0, -(-rows // 64), -(-cols // 64)))
    make_mosaic(plan, str(tmp_path), dict.fromkeys(some_jobs(plan, 0.1), 1))
    first, window = mosaic_window(plan), Window(0, 0, rows, cols)
    shown = overview.read_coarse(level_url(str(tmp_path), 0), "sr", first, window, most)
    factor = -(-max(rows, cols) // most)
    padded = [-(-n // factor) * factor for n in (rows, cols)]
    whole = decode(read_window(level_url(str(tmp_path), 0), "sr", first, Window(0, 0, *padded)))
    np.testing.assert_array_equal(shown, overview.block_nanmean(whole, factor))
    assert max(shown.shape) <= most


def test_levels_begin_where_the_mosaic_begins() -> None:
    plan = plan_of()
    assert level_window(plan, 2).corner == tuple(k >> 2 for k in mosaic_window(plan).corner)
