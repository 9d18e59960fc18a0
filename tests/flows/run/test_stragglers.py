"""When a step gets a backup copy, and what becomes of two copies; without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from dsdit.digest import NO_DIGEST
from dsdit.receipts.receipts import Receipt
from dsdit.status import JobState
from dsdit.window import Index
from flows.run.frontier import Wavefront
from flows.run.loop import Flight, WavefrontRun
from flows.run.run_step import Places
from flows.run.stragglers import should_launch_backup
from tests.benchmarks.wavefront_at_size import plan_of_jobs

LATE = {"age_s": 61.0, "limit_s": 60.0, "has_backup": False, "free_slots": 1, "workers": 2, "others": 1}


@pytest.mark.parametrize(
    ("change", "launched"),
    [
        ({}, True),
        ({"age_s": 60.0}, False),
        ({"has_backup": True}, False),
        ({"free_slots": 0}, False),
        ({"others": 0}, False),  # every worker has it already
        ({"others": 2}, False),  # no worker has it yet
        ({"workers": 0, "others": 0}, False),
        ({"workers": 9, "others": 8}, True),
    ],
)
def test_a_backup_is_launched_for_a_late_step_that_another_worker_can_take(
    change: dict[str, Any], launched: bool
) -> None:
    assert should_launch_backup(**{**LATE, **change}) is launched


class Cancelled:
    """A future that notes that it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def run(tmp_path: Any) -> WavefrontRun:
    plan = plan_of_jobs(2, 2)
    front = Wavefront(plan, Places.of("", str(tmp_path), str(tmp_path)), plan.layout.mosaic_jobs)
    return WavefrontRun(None, front)  # type: ignore[arg-type]


WORK = ("stage", Index(0, 0))
DONE = Receipt("stage", Index(0, 0), JobState.DONE, NO_DIGEST, 0.0)


def test_the_first_of_two_copies_wins_and_the_other_is_cancelled(run: WavefrontRun) -> None:
    first, second = Cancelled(), Cancelled()
    run._front.repeated.add(WORK)
    run.in_flight = {"a": Flight(WORK, first, 0.0), "b": Flight(WORK, second, 0.0)}
    assert run.land("b", DONE) == WORK
    assert first.cancelled and not run.in_flight
    assert run.land("a", DONE) is None, "its result comes too late"


def test_an_error_of_one_copy_waits_for_the_other(run: WavefrontRun) -> None:
    run._front.repeated.add(WORK)
    run.in_flight = {"a": Flight(WORK, Cancelled(), 0.0), "b": Flight(WORK, Cancelled(), 0.0)}
    assert run.land("a", OSError("the disk is full")) is None
    assert run.land("b", OSError("the disk is full")) == WORK, "both failed: the step has failed"
