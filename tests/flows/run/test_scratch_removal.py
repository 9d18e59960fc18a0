"""Scratch is removed beside the run: in bulk, by the names that exist, and the loop of steps waits for no store."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flows.run.scratch_removal
from dsdit.digest import NO_DIGEST
from dsdit.errors import LeaseError, StoreError
from dsdit.receipts.receipts import Receipt, list_receipts, write_receipt
from dsdit.status import JobState
from dsdit.steps.scratch import SCRATCH, create_scratch, origin
from dsdit.store.arrays import forget_arrays
from dsdit.store.objects import join, write_bytes
from dsdit.window import Index
from flows.run.run_step import Places
from flows.run.scratch_removal import Released, Removals, remove_scratch
from tests.benchmarks.continent import LATTICE
from tests.benchmarks.wavefront_at_size import plan_of_jobs
from tests.support.commands import wait_for
from tests.support.s3 import BUCKET, counted_requests, s3_server

PLAN: Any = SimpleNamespace()
NOWHERE = Places("", "", "", "", "")
JOBS = [Index(row, col) for row in range(4) for col in range(6)]
WORKS: list[Released] = [(step, job, JobState.DONE) for job in JOBS for step in ("stage", "sample")]


class Removed:
    """Batches that were removed, each held up until `go` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.batches: list[list[Released]] = []
        self.error, self.began, self.go = error, threading.Event(), threading.Event()
        monkeypatch.setattr(flows.run.scratch_removal, "remove_scratch", self)

    def __call__(self, plan: Any, places: Places, batch: list[Released]) -> None:
        self.began.set()
        assert self.go.wait(30)
        if self.error is not None:
            raise self.error
        self.batches.append(batch)


@pytest.mark.slow
def test_a_jobs_scratch_costs_less_than_a_request(tmp_path: Path) -> None:
    with s3_server(tmp_path / "log") as s3:
        plan, url = plan_of_jobs(4, 6), f"s3://{BUCKET}/scratch"
        places = Places("", join(url, "data.zarr"), "", join(url, "receipts"), "")
        forget_arrays()
        create_scratch(places.scratch, LATTICE, plan.layout.jobs_window)
        standing = set(s3.objects())
        for step, job, state in WORKS:
            write_receipt(places.scratch_receipts, Receipt(step, job, state, NO_DIGEST, 1.0))
            for spec in SCRATCH[step]:
                write_bytes(join(places.scratch, spec.shard_object(origin(plan), job)), b"pixels")
        assert len(s3.objects()) == len(standing) + len(JOBS) * (2 + 5 + 2)
        with counted_requests() as counts:
            remove_scratch(plan, places, WORKS)
        assert set(s3.objects()) == standing
        assert counts == {"delete_objects": 2, "at once": 1}
        forget_arrays()


def test_receipts_go_before_the_data_that_they_prove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, places = plan_of_jobs(4, 6), Places.of("", str(tmp_path), "")
    forget_arrays()
    create_scratch(places.scratch, LATTICE, plan.layout.jobs_window)
    write_receipt(places.scratch_receipts, Receipt("stage", JOBS[0], JobState.FAILED, NO_DIGEST, 1.0))
    removed: list[tuple[str, int]] = []

    def watched(folder: str, names: Any) -> None:
        batch = list(names)
        removed.append((folder, len(batch)))
        remove(folder, batch)

    remove = flows.run.scratch_removal.remove_objects
    monkeypatch.setattr(flows.run.scratch_removal, "remove_objects", watched)
    remove_scratch(plan, places, [("stage", JOBS[0], JobState.FAILED)])
    assert removed == [(places.scratch_receipts, 1), (places.scratch, 5)]
    assert list_receipts(places.scratch_receipts, "stage") == {}


def test_who_releases_does_not_wait_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    removed = Removed(monkeypatch)
    with Removals(PLAN, NOWHERE).running() as removals:
        removals.add(*WORKS[0])
        assert removed.began.wait(30)
        for work in WORKS[1:]:
            removals.add(*work)
        assert removed.batches == []
        removed.go.set()
    assert removed.batches == [WORKS[:1], WORKS[1:]]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.run.scratch_removal, "MOST_WAITING", 3)
    removed, given = Removed(monkeypatch), []

    def give(removals: Removals) -> None:
        for work in WORKS:
            removals.add(*work)
            given.append(work)

    with Removals(PLAN, NOWHERE).running() as removals:
        thread = threading.Thread(target=give, args=(removals,))
        thread.start()
        assert removed.began.wait(30)
        wait_for(lambda: len(given) >= 3, 30, "the queue is full", 0.01)
        thread.join(0.3)
        assert thread.is_alive() and len(given) <= 6
        removed.go.set()
        thread.join(30)
    assert [work for batch in removed.batches for work in batch] == WORKS


def test_a_removal_that_fails_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    removed = Removed(monkeypatch, StoreError("the store refuses"))
    removed.go.set()
    with pytest.raises(StoreError, match="the store refuses"), Removals(PLAN, NOWHERE).running() as removals:
        for _ in range(1000):
            removals.add(*WORKS[0])
            removed.began.wait(30)
    with pytest.raises(StoreError, match="the store refuses"), Removals(PLAN, NOWHERE).running() as removals:
        removals.add(*WORKS[0])


def test_a_run_that_fails_removes_what_it_released(monkeypatch: pytest.MonkeyPatch) -> None:
    removed = Removed(monkeypatch)
    removed.go.set()
    with pytest.raises(ValueError, match="of the run"), Removals(PLAN, NOWHERE).running() as removals:
        removals.add(*WORKS[0])
        raise ValueError("of the run")
    assert removed.batches == [WORKS[:1]]
    removed.error = StoreError("the store refuses")
    with pytest.raises(ValueError, match="of the run") as caught, Removals(PLAN, NOWHERE).running() as removals:
        removals.add(*WORKS[0])
        raise ValueError("of the run")
    assert caught.value.__notes__ == ["scratch could not be removed either: the store refuses"]


def test_nothing_is_removed_once_the_output_is_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise LeaseError("another run holds it")

    removed = Removed(monkeypatch)
    removed.go.set()
    with pytest.raises(LeaseError), Removals(PLAN, NOWHERE, lost).running() as removals:
        removals.add(*WORKS[0])
    assert removed.batches == []
