"""Each test here injects a fault that must fail the named check; without the fault the check passes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import catalogs.staging.stage
import dsdit.steps.mosaic
import dsdit.steps.sample
import tests.support.running
from catalogs.item import SceneItem
from catalogs.masks import NO_DATA
from dsdit.errors import ReadError
from dsdit.lattice.blend import blend
from dsdit.receipts.receipts import Receipt, write_receipt
from dsdit.sampling.sampler import TileSampler, open_sampler
from dsdit.sampling.tile_batch import TileBatch
from dsdit.status import JobState
from dsdit.window import Index, Window
from flows.run.commits import Commits
from flows.run.run_step import Places, read_plan, receipts_of, run_step
from tests.support.checks import (
    check_agreeing_tiles_blend_to_themselves,
    check_batches_have_one_size,
    check_no_receipt_before_data,
    check_overlaps_get_the_same,
    check_raises,
    check_read_error_is_reported,
    check_same_answer,
)
from tests.support.commits import check_no_receipt_before_commit
from tests.support.equator import equator_record, make_equator
from tests.support.kept import AROUND_ZERO, SOUTH, equator_catalog, kept_run
from tests.support.running import Ran, run_here


@pytest.fixture(scope="module")
def equator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return equator_catalog(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def kept(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A sound run whose staged pixels were kept."""
    return kept_run(tmp_path_factory.getbasetemp(), weights)


def test_noise_keyed_by_tile(kept: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tile has its own stream: its neighbours have other noise on the same ground."""

    def noise(sampler: TileSampler, window: Window) -> NDArray[np.float32]:
        key = (window.row0 + 2**31) << 32 | (window.col0 + 2**31)
        shape = sampler.model.latent_shape(*window.shape)
        return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32)

    check_overlaps_get_the_same(kept)
    monkeypatch.setattr(TileSampler, "noise", noise)
    check_raises(partial(check_overlaps_get_the_same, kept), "get different noise on shared pixels")


def test_noise_keyed_by_the_number_of_the_tile(
    equator: Path, weights: Path, kept: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise that counts tiles as they come depends on the region."""
    count = 0

    def noise(sampler: TileSampler, window: Window) -> NDArray[np.float32]:
        nonlocal count
        count += 1
        shape = sampler.model.latent_shape(*window.shape)
        return np.random.Generator(np.random.Philox(key=count)).standard_normal(shape, np.float32)

    monkeypatch.setattr(TileSampler, "noise", noise)
    part = run_here(equator_record(equator, weights, tmp_path / "output", SOUTH))
    check_raises(partial(check_same_answer, kept, part), "sr: .* values differ")


def test_normalisation_by_the_statistics_of_a_tile(kept: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    original = TileSampler.__call__

    def normalised(sampler: TileSampler, batch: TileBatch) -> tuple[NDArray, NDArray]:
        mean = batch.restored.mean((2, 3), keepdims=True)
        deviation = batch.restored.std((2, 3), keepdims=True)
        alike = replace(
            batch,
            restored=(batch.restored - mean) / deviation,
            ref=(batch.ref - mean) / deviation,
            ref_high=batch.ref_high / deviation,
        )
        pictures, shares = original(sampler, alike)
        return pictures * deviation + mean, shares

    check_overlaps_get_the_same(kept)
    monkeypatch.setattr(TileSampler, "__call__", normalised)
    check_raises(partial(check_overlaps_get_the_same, kept), "get different lr on shared pixels")


def test_a_feather_that_is_not_normalised(kept: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    def summed(window: Window, tiles: Any, weight: NDArray, channels: int) -> tuple[NDArray, NDArray]:
        mean, total = blend(window, tiles, weight, channels)
        return mean * total, total

    check = partial(check_agreeing_tiles_blend_to_themselves, kept.plan, kept.places.scratch)
    check()
    monkeypatch.setattr(dsdit.steps.mosaic, "blend", summed)
    check_raises(check, "tiles that agree blend to something")


def test_ragged_batches(kept: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch as it is, to a network that takes any size: the sampler itself refuses it."""
    original, batch_of = TileSampler.__call__, dsdit.steps.sample._batch

    def ragged(plan: Any, context: Any, tiles: Any, *rest: Any) -> TileBatch:
        full, n = batch_of(plan, context, tiles, *rest), len(tiles)
        arrays = (full.restored, full.ref, full.ref_valid, full.ref_high, full.noise)
        return TileBatch(*(a[:n] for a in arrays), scale=full.scale)

    def takes_any(sampler: TileSampler, batch: TileBatch) -> tuple[NDArray, NDArray]:
        other = TileSampler.__new__(TileSampler)
        other.__dict__.update(vars(sampler))
        other.settings = replace(sampler.settings, batch=batch.restored.shape[0])
        return original(other, batch)

    check_batches_have_one_size(kept)
    monkeypatch.setattr(dsdit.steps.sample, "_batch", ragged)
    with pytest.raises(ValueError, match="the network always gets 3"):
        check_batches_have_one_size(kept)
    monkeypatch.setattr(TileSampler, "__call__", takes_any)
    check_raises(partial(check_batches_have_one_size, kept), "the network is to be given 3 at a time")


def test_a_sampler_refuses_a_batch_of_another_size(kept: Ran) -> None:
    sampler = open_sampler(kept.plan.model, kept.plan.sampler)
    nothing = np.zeros((2, 3, 128, 128), np.float32)
    with pytest.raises(ValueError, match="a batch of 2"):
        sampler(TileBatch(nothing, nothing, nothing[:, 0] > 0, nothing, np.zeros((2, 48, 32, 32), np.float32), 8))


@pytest.mark.parametrize("step", ["stage", "sample", "mosaic"])
def test_a_receipt_before_the_data(
    equator: Path, weights: Path, kept: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def early(work: str, job: Index, places: Places) -> Receipt:
        plan = read_plan(places.plan)
        digest = {"stage": plan.stage_digest, "sample": plan.sample_digest, "mosaic": plan.job_digest}[work](job)
        write_receipt(receipts_of(work, places), Receipt(work, job, JobState.DONE, digest, 0.0))
        return run_step(work, job, places)

    record = equator_record(equator, weights, tmp_path / "output", AROUND_ZERO, keep_scratch=True)
    monkeypatch.setattr(tests.support.running, "run_step", early)
    check_raises(partial(check_no_receipt_before_data, kept, record, step), "has a receipt and no data")


def test_a_receipt_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Commits.commit

    def early(commits: Commits) -> None:
        for part in commits._waiting:
            write_receipt(commits._receipts, part.receipt)
        original(commits)

    check_no_receipt_before_commit(tmp_path / "sound")
    monkeypatch.setattr(Commits, "commit", early)
    check_raises(partial(check_no_receipt_before_commit, tmp_path / "early"), "has a receipt and no commit")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog, with noise where the scene's own resolution is stored in its file; head and overviews are sound."""
    folder = make_equator(tmp_path_factory.mktemp("broken") / "catalog")
    path = folder / "equator-lr.tif"
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half:] = np.random.default_rng(1).bytes(len(content) - half)
    path.write_bytes(content)
    return folder


def test_a_read_error_is_reported(broken: Path, weights: Path, tmp_path: Path) -> None:
    ran = run_here(equator_record(broken, weights, tmp_path / "output", SOUTH))
    check_read_error_is_reported(ran, "equator-lr-1")


def test_a_read_error_taken_for_no_data(
    broken: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_scene = catalogs.staging.stage.read_scene

    def scene(item: SceneItem, source: Any, geobox: Any, *rest: Any) -> tuple[NDArray, NDArray, NDArray]:
        try:
            return read_scene(item, source, geobox, *rest)
        except ReadError:
            nothing = np.full((3, *geobox.shape), np.nan, np.float32)
            return nothing, np.zeros(geobox.shape, bool), np.full(geobox.shape, NO_DATA, np.uint8)

    monkeypatch.setattr(catalogs.staging.stage, "read_scene", scene)
    ran = run_here(equator_record(broken, weights, tmp_path / "output", SOUTH))
    check_raises(partial(check_read_error_is_reported, ran, "equator-lr-1"), "nothing failed|taken for no data")
