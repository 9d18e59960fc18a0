"""G1: a pixel depends on its place, its inputs, the model and the settings, and on nothing else, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsdit.sampling.sampler import TileBatch, open_sampler
from dsdit.status import PixelStatus
from flows.prepare import price
from tests.conftest import box
from tests.support.checks import (
    check_agreeing_tiles_blend_to_themselves,
    check_batches_have_one_size,
    check_no_receipt_before_data,
    check_overlaps_see_the_same,
    check_same_answer,
    network_batches,
    receipt_files,
)
from tests.support.equator import equator_record, make_equator
from tests.support.on_dask import run_on_dask
from tests.support.running import Ran, prepare, run_here, sample_record

WHOLE = box(411.9, 324.6, 587.3, 162.2)
"""Over four shards of 384 px, with cloud in it, off both lattices."""
PART = box(450.7, 281.1, 537.9, 216.4)
"""Of `WHOLE`, over the same four shards."""
AROUND_ZERO = (-61.3, -73.9, 88.1, 52.2)
ACROSS = (-30.2, -31.1, 13.3, 29.9)
SOUTH = (7.3, -50.0, 60.0, -9.0)
SHARDS_384 = {"chunk_strides": 4, "shard_chunks": 1}
SHARDS_576 = {"chunk_strides": 6, "shard_chunks": 1}


@pytest.fixture(scope="module")
def whole(catalog: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    output = tmp_path_factory.mktemp("whole") / "output"
    return run_here(sample_record(catalog, weights, output, WHOLE, tiling=SHARDS_384))


@pytest.fixture(scope="module")
def part(catalog: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    output = tmp_path_factory.mktemp("part") / "output"
    return run_here(sample_record(catalog, weights, output, PART, tiling=SHARDS_576))


@pytest.fixture(scope="module")
def equator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_equator(tmp_path_factory.mktemp("equator") / "catalog")


@pytest.fixture(scope="module")
def around_zero(equator: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    output = tmp_path_factory.mktemp("zero") / "output"
    return run_here(equator_record(equator, weights, output, AROUND_ZERO, keep_scratch=True))


def _again(catalog: Path, weights: Path, output: Path, **more: Any) -> dict[str, Any]:
    return sample_record(catalog, weights, output, WHOLE, **{"tiling": SHARDS_384, **more})


def test_the_region_tells_something(whole: Ran) -> None:
    assert len(whole.plan.layout.mosaic_jobs) == 4
    states = np.bincount(whole.pixels(name="status").ravel(), minlength=6)
    assert states[PixelStatus.DONE] and states[PixelStatus.CLOUDY]
    window, unit = whole.plan.region.window, whole.plan.lattice.stride_px
    assert all(edge % 8 and edge % unit for edge in (window.row0, window.col0, window.row1, window.col1))


def test_two_shard_sizes_and_a_part_off_the_lattice(whole: Ran, part: Ran) -> None:
    assert (whole.plan.lattice.shard_px, part.plan.lattice.shard_px) == (384, 576)
    window, inner = whole.plan.region.window, part.plan.region.window
    assert window.intersect(inner) == inner != window
    assert all(edge % 8 for edge in (inner.row0, inner.col0, inner.row1, inner.col1))
    check_same_answer(whole, part)


def test_two_shard_sizes_over_one_region(catalog: Path, weights: Path, whole: Ran, tmp_path: Path) -> None:
    check_same_answer(whole, run_here(_again(catalog, weights, tmp_path / "output", tiling=SHARDS_576)))


def test_the_order_turned_round(catalog: Path, weights: Path, whole: Ran, tmp_path: Path) -> None:
    other = run_here(_again(catalog, weights, tmp_path / "output"), reverse=True)
    firsts = [next(r.job for r in ran.receipts if r.step == "mosaic") for ran in (whole, other)]
    assert firsts[0] != firsts[1]
    check_same_answer(whole, other)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_of_a_dask_cluster(catalog: Path, weights: Path, whole: Ran, tmp_path: Path, workers: int) -> None:
    check_same_answer(whole, run_on_dask(_again(catalog, weights, tmp_path / "output"), workers))


def test_an_interrupted_run_goes_on_and_repeats_nothing(
    catalog: Path, weights: Path, whole: Ran, tmp_path: Path
) -> None:
    record = _again(catalog, weights, tmp_path / "output")
    steps = [r.step for r in whole.receipts]
    begun = run_here(record, stop_after=steps.index("mosaic") + 2)
    kept = receipt_files(begun)
    assert 0 < len(kept) < 4
    resumed = run_here(record)
    done, rest = ({(r.step, r.job) for r in ran.receipts} for ran in (begun, resumed))
    assert not done & rest
    assert done | rest == {(r.step, r.job) for r in whole.receipts}
    after = receipt_files(resumed)
    assert len(after) == 4 and {name: after[name] for name in kept} == kept
    assert resumed.report.complete
    check_same_answer(whole, resumed)


def test_a_finished_run_has_nothing_to_do(catalog: Path, weights: Path, part: Ran) -> None:
    before = receipt_files(part)
    again = run_here(sample_record(catalog, weights, Path(part.request.output), PART, tiling=SHARDS_576))
    assert not again.receipts
    assert receipt_files(again) == before


def test_a_tile_at_every_position_of_a_batch(whole: Ran) -> None:
    sampler = open_sampler(whole.plan.model, whole.plan.sampler)
    size, side = whole.plan.sampler.batch, whole.plan.lattice.tile_px
    stream = np.random.default_rng(5)

    def pictures(*shape: int) -> np.ndarray:
        return stream.normal(0, 0.5, (size, *shape, side, side)).astype(np.float32)

    arrays = [pictures(3), pictures(3), stream.random((size, side, side)) > 0.3, pictures(3)]
    arrays.append(stream.normal(size=(size, *sampler.model.latent_shape(side, side))).astype(np.float32))
    straight = sampler(TileBatch(*arrays, scale=8))
    assert len({tile.tobytes() for tile in straight[0]}) == size
    for turn in range(1, size):
        turned = sampler(TileBatch(*(np.roll(a, turn, 0) for a in arrays), scale=8))
        for ours, theirs in zip(straight, turned, strict=True):
            assert np.roll(ours, turn, 0).tobytes() == theirs.tobytes()
    padded = sampler(TileBatch(*(np.repeat(a[:1], size, 0) for a in arrays), scale=8))
    for ours, theirs in zip(straight, padded, strict=True):
        assert np.repeat(ours[:1], size, 0).tobytes() == theirs.tobytes()


@pytest.mark.parametrize("bounds", [ACROSS, SOUTH], ids=["across", "south"])
def test_north_and_south_of_the_origin(
    equator: Path, weights: Path, around_zero: Ran, tmp_path: Path, bounds: tuple[float, float, float, float]
) -> None:
    window = around_zero.plan.region.window
    assert window.row0 < 0 < window.row1 and window.col0 < 0 < window.col1
    assert around_zero.report.pixels["no_data"] > 0
    part = run_here(equator_record(equator, weights, tmp_path / "output", bounds, tiling=SHARDS_384))
    assert around_zero.plan.lattice.shard_px == 288
    inner = part.plan.region.window
    assert (inner.row0 < 0) is (bounds[3] > 0) and inner.row1 > 0
    check_same_answer(around_zero, part)


def test_two_seeds_differ(catalog: Path, weights: Path, part: Ran, tmp_path: Path) -> None:
    sampling = {"steps": 2, "batch": 4, "seed": 1}
    other = run_here(sample_record(catalog, weights, tmp_path / "output", PART, tiling=SHARDS_576, sampling=sampling))
    seen = part.pixels(name="status") == PixelStatus.DONE
    assert np.array_equal(seen, other.pixels(name="status") == PixelStatus.DONE)
    differ = (part.pixels() != other.pixels()).any(0)
    assert differ[seen].mean() > 0.9


def test_the_network_is_called_as_often_as_planned(equator: Path, weights: Path, tmp_path: Path) -> None:
    """Where no tile is cloudy or empty, so that none is skipped."""
    record = equator_record(equator, weights, tmp_path / "output", SOUTH)
    with network_batches() as sizes:
        ran = run_here(record)
    assert ran.report.tiles == {"planned": ran.plan.layout.tile_count, "done": ran.plan.layout.tile_count}
    assert len(sizes) == ran.report.calls == price(ran.plan, 1)["network_calls"]


@pytest.mark.parametrize("settings", [{"guidance_scale": 1.5}, {"solver": "heun"}, {"steps": 1}], ids=str)
def test_calls_are_planned_for_every_sampler(around_zero: Ran, settings: dict[str, Any]) -> None:
    plan = replace(around_zero.plan, sampler=replace(around_zero.plan.sampler, **settings))
    calls = check_batches_have_one_size(replace(around_zero, plan=plan))
    assert calls == price(plan, 1)["network_calls"]


def test_a_cloudy_region_is_planned_at_the_most_it_can_cost(whole: Ran) -> None:
    assert 0 < whole.report.calls <= price(whole.plan, 4)["network_calls"]


def test_tiles_are_told_the_same_of_the_places_they_share(around_zero: Ran) -> None:
    assert check_overlaps_see_the_same(around_zero) >= 20


def test_batches_are_filled_up(around_zero: Ran) -> None:
    assert check_batches_have_one_size(around_zero) > 0


def test_tiles_that_agree_blend_to_what_they_agree_on(around_zero: Ran) -> None:
    check_agreeing_tiles_blend_to_themselves(around_zero.plan, around_zero.places.scratch)


@pytest.mark.parametrize("step", ["stage", "sample", "mosaic"])
def test_data_come_before_their_receipt(
    equator: Path, weights: Path, around_zero: Ran, tmp_path: Path, step: str
) -> None:
    record = equator_record(equator, weights, tmp_path / "output", AROUND_ZERO, keep_scratch=True)
    check_no_receipt_before_data(around_zero, record, step)


def test_where_a_run_writes_decides_nothing(around_zero: Ran, equator: Path, weights: Path, tmp_path: Path) -> None:
    _, plan, places = prepare(equator_record(equator, weights, tmp_path / "output", AROUND_ZERO))
    assert places.mosaic != around_zero.places.mosaic
    assert all(plan.job_digest(job) == around_zero.plan.job_digest(job) for job in plan.layout.mosaic_jobs)
