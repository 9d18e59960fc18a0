"""G1: a pixel depends on its place, its inputs, the model and the settings, and on nothing else, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsdit.plan.pair_fits import Correction
from dsdit.sampling.sampler import open_sampler
from dsdit.sampling.tile_batch import TileBatch
from dsdit.status import PixelStatus
from flows.plan.cost import price
from tests.conftest import box
from tests.support.checks import (
    check_agreeing_tiles_blend_to_themselves,
    check_batches_have_one_size,
    check_no_receipt_before_data,
    check_overlaps_get_the_same,
    check_same_answer,
    network_batches,
    receipt_files,
)
from tests.support.equator import equator_record
from tests.support.kept import ACROSS, AROUND_ZERO, SOUTH, equator_catalog, kept_run
from tests.support.on_dask import run_on_dask
from tests.support.running import Ran, prepare, run_here, sample_record

WHOLE = box(411.9, 324.6, 587.3, 162.2)
"""Over four shards of 384 px, with cloud in it, off both lattices."""
PART = box(450.7, 281.1, 537.9, 216.4)
"""Of `WHOLE`, over the same four shards."""
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
    return equator_catalog(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def around_zero(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return kept_run(tmp_path_factory.getbasetemp(), weights)


@pytest.fixture(scope="module")
def south(equator: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, list[int]]:
    """A part in one quarter, without cloud, and the batches that its network was given."""
    output = tmp_path_factory.mktemp("south") / "output"
    with network_batches() as sizes:
        ran = run_here(equator_record(equator, weights, output, SOUTH, tiling=SHARDS_384))
    return ran, sizes


@pytest.fixture
def again(equator: Path, weights: Path, tmp_path: Path) -> dict[str, Any]:
    """The request of `around_zero`, with an output where nothing is yet."""
    return equator_record(equator, weights, tmp_path / "output", AROUND_ZERO)


def test_the_region_has_content(whole: Ran) -> None:
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


def test_every_choice_that_looks_beyond_a_pixel_is_the_same_in_a_part(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    """Medians of scenes, seams balanced, references moved, an ensemble and guidance away from no reference."""

    def ran(name: str, bounds: tuple[float, ...], tiling: dict[str, int]) -> Ran:
        record = sample_record(catalog, weights, tmp_path / name, bounds, tiling=tiling)
        record["lr"] |= {"rule": "median_clear", "balance": True}
        record["ref"] |= {"registration": "apply"}
        record["sampling"] = {"batch": 4, "ensemble": 2, "guidance_scale": 1.5, "guidance_from": "no_reference"}
        return run_here(record)

    whole, part = ran("whole", WHOLE, SHARDS_384), ran("part", PART, SHARDS_576)
    assert (
        whole.plan.composite == "median"
        and whole.plan.fits.count_corrections()[Correction.APPLIED]
        and whole.plan.seams
    )
    check_same_answer(whole, part)


@pytest.mark.slow
def test_the_order_turned_round(around_zero: Ran, again: dict[str, Any]) -> None:
    other = run_here(again, reverse=True)
    orders = [[(r.step, r.job) for r in ran.receipts] for ran in (around_zero, other)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])
    check_same_answer(around_zero, other)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_workers_of_a_dask_cluster(around_zero: Ran, again: dict[str, Any], workers: int) -> None:
    check_same_answer(around_zero, run_on_dask(again, workers))


def test_an_interrupted_run_goes_on_and_repeats_nothing(around_zero: Ran, again: dict[str, Any]) -> None:
    steps = [r.step for r in around_zero.receipts]
    begun = run_here(again, stop_after=steps.index("mosaic") + 1)
    kept = receipt_files(begun)
    assert 0 < len(kept) < 4
    resumed = run_here(again)
    done, rest = ({(r.step, r.job) for r in ran.receipts} for ran in (begun, resumed))
    assert rest and not done & rest
    assert done | rest == {(r.step, r.job) for r in around_zero.receipts}
    after = receipt_files(resumed)
    assert len(after) == 4 and {name: after[name] for name in kept} == kept
    assert resumed.report.complete
    check_same_answer(around_zero, resumed)


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


def test_a_part_across_the_origin(equator: Path, weights: Path, around_zero: Ran, tmp_path: Path) -> None:
    part = run_here(equator_record(equator, weights, tmp_path / "output", ACROSS, tiling=SHARDS_384))
    for window in (around_zero.plan.region.window, part.plan.region.window):
        assert window.row0 < 0 < window.row1 and window.col0 < 0 < window.col1
    assert (around_zero.plan.lattice.shard_px, part.plan.lattice.shard_px) == (288, 384)
    assert part.report.pixels["no_data"] > 0
    check_same_answer(around_zero, part)


def test_a_part_south_of_the_origin(around_zero: Ran, south: tuple[Ran, list[int]]) -> None:
    assert south[0].plan.region.window.row0 > 0
    check_same_answer(around_zero, south[0])


def test_the_network_is_called_as_often_as_planned(south: tuple[Ran, list[int]]) -> None:
    """Where no tile is cloudy or empty, so that none is skipped."""
    ran, sizes = south
    assert ran.report.tiles == {"planned": ran.plan.layout.tile_count, "done": ran.plan.layout.tile_count}
    assert len(sizes) == ran.report.calls == price(ran.plan)["network_calls"]


def test_two_seeds_differ(equator: Path, weights: Path, south: tuple[Ran, list[int]], tmp_path: Path) -> None:
    sampling = {"steps": 2, "batch": 3, "seed": 1}
    record = equator_record(equator, weights, tmp_path / "output", SOUTH, tiling=SHARDS_384, sampling=sampling)
    other = run_here(record)
    assert np.array_equal(south[0].pixels(name="status"), other.pixels(name="status"))
    assert (south[0].pixels() != other.pixels()).any(0).mean() > 0.9


@pytest.mark.parametrize(
    "settings",
    [
        {"guidance_scale": 1.5},
        {"guidance_scale": 1.5, "guidance_interval": (0.0, 0.8), "start_sigma": 0.9},
        {"solver": "heun"},
        {"steps": 1},
    ],
    ids=str,
)
def test_calls_are_planned_for_every_sampler(around_zero: Ran, settings: dict[str, Any]) -> None:
    plan = replace(around_zero.plan, sampler=replace(around_zero.plan.sampler, **settings))
    calls = check_batches_have_one_size(replace(around_zero, plan=plan))
    assert calls == price(plan)["network_calls"]


def test_a_cloudy_region_is_planned_at_the_most_it_can_cost(whole: Ran) -> None:
    assert 0 < whole.report.calls <= price(whole.plan)["network_calls"]


def test_tiles_get_the_same_inputs_on_shared_pixels(around_zero: Ran) -> None:
    assert check_overlaps_get_the_same(around_zero) >= 20


def test_batches_are_filled_up(around_zero: Ran) -> None:
    assert check_batches_have_one_size(around_zero) > 0


def test_tiles_that_agree_blend_to_what_they_agree_on(around_zero: Ran) -> None:
    check_agreeing_tiles_blend_to_themselves(around_zero.plan, around_zero.places.scratch)


@pytest.mark.parametrize(
    "step",
    [pytest.param("stage", marks=pytest.mark.slow), pytest.param("sample", marks=pytest.mark.slow), "mosaic"],
)
def test_data_come_before_their_receipt(around_zero: Ran, again: dict[str, Any], step: str) -> None:
    check_no_receipt_before_data(around_zero, {**again, "keep_scratch": True}, step)


def test_where_a_run_writes_decides_nothing(around_zero: Ran, again: dict[str, Any]) -> None:
    _, plan, places = prepare(again)
    assert places.mosaic != around_zero.places.mosaic
    assert all(plan.job_digest(job) == around_zero.plan.job_digest(job) for job in plan.layout.mosaic_jobs)
