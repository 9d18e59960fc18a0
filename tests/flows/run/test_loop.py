"""The wavefront: bounded in futures and in scratch, and a step that raises stops nobody else."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from distributed import Client, Future, LocalCluster

import flows.run.loop
import flows.run.run_step
from dsdit.receipts.receipts import Receipt, list_receipts, write_receipt
from dsdit.status import JobState
from dsdit.window import Index
from flows.run.gc_freeze import frozen_heap
from flows.run.progress import Progress
from flows.run.run_step import RETRIES, Places, receipts_of
from tests.conftest import box
from tests.support.clustered import digest_of, run_on
from tests.support.commands import files_below
from tests.support.running import prepare, run_here, sample_record
from tests.support.sums import check_sums

T = TypeVar("T")
FOUR_SHARDS = box(0, 480, 640, 0)
THREE_SHARDS = box(-400, 160, 900, 100)
FOUR_ROWS = box(100, 900, 160, -400)
WORKERS = 2
calls: Counter[tuple[str, Index]] = Counter()
lock = threading.Lock()
fault: list[tuple[str, Index]] = []


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers that are threads of this process."""
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as opened,
    ):
        yield opened


@pytest.fixture(autouse=True)
def _nothing_counted() -> Iterator[None]:
    calls.clear()
    fault.clear()
    yield
    fault.clear()


def count_call(step: str, job: Index) -> None:
    with lock:
        calls[step, Index(*job)] += 1


def quick_step(step: str, job: Index, places: Places) -> Receipt:
    """A step without pixels: nothing but its receipt."""
    count_call(step, job)
    plan = flows.run.run_step.read_plan(places.plan)
    job = Index(*job)
    digest = {"stage": plan.stage_digest, "sample": plan.sample_digest, "mosaic": plan.job_digest}[step](job)
    receipt = Receipt(step, job, JobState.DONE, digest, 0.0)
    write_receipt(receipts_of(step, places), receipt)
    return receipt


def priorities(dask_scheduler: Any) -> dict[str, int]:
    """What the scheduler sorts the steps by that it has, before their age."""
    step = re.compile(r"(stage|sample|mosaic)-[-+]\d+[-+]\d+-")
    return {key: task.priority[0] for key, task in dask_scheduler.tasks.items() if step.match(key)}


def step_with_a_fault(step: str, job: Index, places: Places) -> Receipt:
    """The real step, or an error for the one that `fault` names."""
    count_call(step, job)
    if (step, Index(*job)) in fault:
        raise OSError("the disk is full")
    return flows.run.run_step.run_step(step, job, places)


class Submitted:
    """A client that counts what is submitted, and how many of it are unfinished at each moment."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.futures: list[Future] = []
        self.in_flight: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def map(self, *args: Any, **more: Any) -> list[Future]:
        self.in_flight.append(len(args[1]) + sum(f.status == "pending" for f in self.futures))
        futures: list[Future] = self._client.map(*args, **more)
        self.futures += futures
        return futures


@pytest.mark.parametrize("futures_per_worker", [1, 3])
def test_futures_in_flight_are_bounded(
    futures_per_worker: int,
    client: Client,
    catalog: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flows.run.loop, "run_step", quick_step)
    counted = Submitted(client)
    compute = {"futures_per_worker": futures_per_worker}
    record = sample_record(catalog, weights, tmp_path / "out", FOUR_SHARDS, compute=compute)
    ran = run_on(record, client=counted)  # type: ignore[arg-type]
    layout = ran.plan.layout
    steps = len(layout.stage_jobs) + len(layout.sample_jobs) + len(layout.mosaic_jobs)
    assert max(counted.in_flight) == futures_per_worker * WORKERS < steps
    assert len(counted.futures) == steps == len(ran.receipts)
    assert set(calls.values()) == {1}


def test_mosaics_and_stages_overtake_samples_in_a_run_whose_heap_is_settled(
    client: Client, catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.loop, "run_step", quick_step)
    seen: dict[str, set[int]] = {}
    frozen: list[int] = []

    def watch(client: Client, _: Progress) -> None:
        frozen.append(gc.get_freeze_count())
        for key, priority in client.run_on_scheduler(priorities).items():
            seen.setdefault(key.partition("-")[0], set()).add(priority)

    run_on(sample_record(catalog, weights, tmp_path / "out", FOUR_SHARDS), watch, client)
    assert seen == {"mosaic": {-2}, "stage": {-1}, "sample": {0}}  # the smallest is the first that a worker gets
    assert min(frozen) > 100_000
    assert gc.get_freeze_count() == 0


def test_a_run_that_raises_leaves_the_heap_as_it_was() -> None:
    with pytest.raises(ValueError, match="ended"), frozen_heap():
        raise ValueError("ended")
    assert gc.get_freeze_count() == 0


def test_what_dask_is_given_holds_no_pixels(
    client: Client, catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.loop, "run_step", quick_step)
    given: list[tuple[Any, ...]] = []

    class Watched(Submitted):
        def map(self, *args: Any, **more: Any) -> list[Future]:
            given.extend((*work, more["places"]) for work in zip(*args[1:], strict=True))
            return super().map(*args, **more)

    run_on(sample_record(catalog, weights, tmp_path / "out", FOUR_SHARDS), client=Watched(client))  # type: ignore[arg-type]
    assert given
    for step, job, places in given:
        assert step in ("stage", "sample", "mosaic")
        assert len(repr((step, tuple(job), tuple(places)))) < 2000


def shards(scratch: Path, name: str) -> int:
    folder = scratch / "data.zarr" / name / "c"
    return sum(path.is_file() for path in folder.rglob("*"))


def settled(count: Callable[[], T]) -> T:
    """Counts once they stay for a while: what is released is removed by another thread."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < 0.2:
        time.sleep(0.01)
        now = count()
        if now != last:
            last, since = now, time.monotonic()
    return last


@pytest.mark.slow
def test_scratch_goes_as_its_readers_finish(client: Client, catalog: Path, weights: Path, tmp_path: Path) -> None:
    seen: list[dict[str, int]] = []

    def watch(_: Client, progress: Progress) -> None:
        place = tmp_path / "out" / "scratch"
        seen.append(settled(lambda: {name: shards(place, name) for name in ("lr", "ref", "tiles")}))

    ran = run_on(sample_record(catalog, weights, tmp_path / "out", FOUR_ROWS), watch, client)
    assert ran.report.jobs == {"done": 4, "planned": 4, "due": 0}
    for name in ("lr", "ref", "tiles"):
        counts = [s[name] for s in seen]
        assert 0 < counts[-2] < max(counts)
    assert seen[-1] == {"lr": 0, "ref": 0, "tiles": 0}
    for name in ("lr", "lr_state", "lr_item", "ref", "ref_item", "tiles", "weighting"):
        assert shards(tmp_path / "out" / "scratch", name) == 0
    for step in ("stage", "sample"):
        assert list_receipts(ran.places.scratch_receipts, step) == {}
    assert set(list_receipts(ran.places.receipts, "mosaic")) == set(ran.plan.layout.mosaic_jobs)
    assert digest_of(ran) == digest_of(run_here(sample_record(catalog, weights, tmp_path / "here", FOUR_ROWS)))


@pytest.mark.slow
def test_scratch_does_not_grow_with_the_region(
    client: Client, catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.loop, "run_step", quick_step)
    peaks = []
    for rows in (8, 16):
        place = tmp_path / str(rows)
        seen: list[int] = []

        def watch(_: Client, progress: Progress, place: Path = place, seen: list[int] = seen) -> None:
            folder = place / "scratch" / "receipts"
            seen.append(settled(lambda: len(list(folder.glob("stage/*.json")))))

        ran = run_on(sample_record(catalog, weights, place, box(100, 480 * rows, 160, 0)), watch, client)
        assert ran.report.jobs["done"] >= rows
        assert 0 < max(seen) < len(ran.plan.layout.stage_jobs)
        assert seen[-1] == 0
        peaks.append(max(seen))
    assert peaks[1] <= peaks[0] + 3


def test_scratch_that_is_kept_stays_and_is_used_again(
    client: Client, catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.loop, "run_step", quick_step)
    record = sample_record(catalog, weights, tmp_path / "out", FOUR_SHARDS, keep_scratch=True)
    ran = run_on(record, client=client)
    assert set(list_receipts(ran.places.scratch_receipts, "stage")) == set(ran.plan.layout.stage_jobs)
    assert set(list_receipts(ran.places.scratch_receipts, "sample")) == set(ran.plan.layout.sample_jobs)
    calls.clear()
    job = ran.plan.layout.mosaic_jobs[1]
    (tmp_path / "out" / "receipts" / "mosaic" / f"{job}.done.json").unlink()
    run_on(record, client=client)
    assert calls == {("mosaic", job): 1}


@pytest.mark.slow
def test_a_stage_that_raises_fails_with_its_reason_and_the_rest_is_finished(
    client: Client, catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.loop, "run_step", step_with_a_fault)
    record = sample_record(catalog, weights, tmp_path / "out", THREE_SHARDS)
    _, plan, _ = prepare(record)
    layout = plan.layout
    bad = layout.stage_jobs[0]
    fault.append(("stage", bad))
    blocked = {job for job in layout.sample_jobs if bad in layout.stages_of_sample(job)}
    assert 0 < len(blocked) < len(layout.sample_jobs)
    ran = run_on(record, client=client)
    assert calls["stage", bad] == 1 + RETRIES
    assert not {job for step, job in calls if step == "sample"} & blocked
    receipts = {(r.step, r.job): r for r in ran.receipts}
    assert receipts["stage", bad].state is JobState.FAILED
    assert receipts["stage", bad].errors == ("OSError: the disk is full",)
    for job in layout.sample_jobs:
        receipt = receipts["sample", job]
        assert (receipt.state is JobState.FAILED) == (job in blocked)
        if job in blocked:
            assert receipt.errors == (f"stage of job {tuple(bad)} failed: OSError: the disk is full",)
    assert len(receipts) == len(layout.stage_jobs) + len(layout.sample_jobs) + len(layout.mosaic_jobs)
    states = {job: receipts["mosaic", job].state for job in layout.mosaic_jobs}
    assert states[layout.mosaic_jobs[0]] is JobState.FAILED
    assert states[layout.mosaic_jobs[-1]] is JobState.DONE
    assert any("the disk is full" in error for error in ran.report.errors)
    assert ran.report.pixels["no_data"] == 0
    check_sums(ran)
    fault.clear()
    mended = run_on(record, client=client)
    assert mended.report.jobs == {"done": 3, "planned": 3, "due": 0}


@pytest.mark.parametrize(
    "step", [pytest.param("sample", marks=pytest.mark.slow), pytest.param("mosaic", marks=pytest.mark.short)]
)
def test_a_sample_or_mosaic_that_raises_fails_its_own_shard(
    step: str, client: Client, catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.loop, "run_step", step_with_a_fault)
    record = sample_record(catalog, weights, tmp_path / "out", THREE_SHARDS)
    _, plan, _ = prepare(record)
    west, middle, east = plan.layout.mosaic_jobs
    fault.append((step, west))
    ran = run_on(record, client=client)
    receipts = {r.job: r for r in ran.receipts if r.step == "mosaic"}
    assert receipts[west].state is JobState.FAILED
    assert receipts[middle].state is (JobState.DEGRADED if step == "sample" else JobState.DONE)
    assert receipts[east].state is JobState.DONE
    assert "OSError: the disk is full" in ran.report.errors
    pixels = plan.lattice.shard_window(west).intersect(plan.region.window).shape
    assert ran.report.pixels["failed"] == pixels[0] * pixels[1]
    check_sums(ran)


def test_a_run_with_nothing_due_submits_nothing(
    client: Client, catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.run.loop, "run_step", quick_step)
    record = sample_record(catalog, weights, tmp_path / "out", FOUR_SHARDS)
    run_on(record, client=client)
    before = files_below(tmp_path / "out" / "receipts")
    counted = Submitted(client)
    again = run_on(record, client=counted)  # type: ignore[arg-type]
    assert counted.futures == []
    assert again.receipts == []
    assert again.report.jobs["due"] == 0
    assert files_below(tmp_path / "out" / "receipts") == before
