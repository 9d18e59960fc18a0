"""A Prefect worker killed in a nightly run, with its flow or without: the runs that follow are not lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from dsdit.store.arrays import forget_arrays
from flows.alarms import DEAD
from tests.support.clustered import digest_of
from tests.support.commands import descendants, end_all, running, started, wait_for, write_request
from tests.support.digests import mosaic_digest
from tests.support.equator import equator_record
from tests.support.installation import WORKER, Installation, prefect_server
from tests.support.kept import SOUTH, equator_catalog
from tests.support.running import Ran, run_here

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
LONG = {"steps": 1000, "batch": 3}


@pytest.fixture
def record(weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    catalog = equator_catalog(tmp_path_factory.getbasetemp())
    return equator_record(catalog, weights, tmp_path / "out", SOUTH, lease_expire_s=10)


@contextmanager
def nightly_server(folder: Path, record: dict[str, Any]) -> Iterator[Installation]:
    """A server on which `nightly` does the record at folder/request.yaml, a run a minute."""
    path = write_request(folder / "request.yaml", record)
    with prefect_server(folder) as here:
        with patch.dict(os.environ, {k: v for k, v in here.env.items() if k.startswith("PREFECT_")}):
            from prefect.settings import PREFECT_API_URL, temporary_settings

            from flows.alarms import set_alarms

            with temporary_settings({PREFECT_API_URL: here.api}):
                assert set_alarms(None) == [DEAD]
        every_minute = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True}
        here.change("nightly", parameters={"region": str(path), "nightly": True}, schedules=[every_minute])
        yield here


def begun(here: Installation, output: Path) -> str:
    """The run of the cron schedule that has begun to write."""
    wait_for(lambda: list(output.glob("scratch/receipts/stage/*")), 600, "a run has begun", 0.5)
    (run,) = [run for run in here.runs("nightly") if run["state_name"] == "Running"]
    assert run["auto_scheduled"]
    return run["id"]


def completed_after(here: Installation, moment: datetime) -> list[str]:
    """Runs of the cron schedule that were to start after a moment, and are completed."""
    later = [run for run in here.runs("nightly") if datetime.fromisoformat(run["expected_start_time"]) > moment]
    return [run["id"] for run in later if run["auto_scheduled"] and run["state_name"] == "Completed"]


def check_no_nightly_run_is_lost(here: Installation, killed: str, state: str, output: Path, straight: Ran) -> None:
    """The killed run has ended in `state`, no other was cancelled or went wrong, and the bytes are right."""
    ended = {run["id"]: run["state_name"] for run in here.runs("nightly") if run["state_type"] not in _ALIVE}
    assert ended.pop(killed) == state
    assert set(ended.values()) == {"Completed"}, ended
    forget_arrays()
    assert mosaic_digest(straight.plan, str(output / "mosaic.zarr")) == digest_of(straight)


_ALIVE = ("SCHEDULED", "PENDING", "RUNNING")


def test_nightly_runs_after_a_killed_worker_and_its_run_complete(record: dict[str, Any], tmp_path: Path) -> None:
    output, log = tmp_path / "out", tmp_path / "worker.log"
    straight = run_here({**record, "output": str(tmp_path / "straight")})
    with nightly_server(tmp_path, {**record, "sampling": LONG}) as here:
        with started(WORKER, here.env, log) as worker:
            killed = begun(here, output)
            below = descendants(worker.pid)
            worker.kill()
            worker.wait(10)
            end_all(below)
        moment = datetime.now(UTC)
        write_request(tmp_path / "request.yaml", record)
        assert here.state_of(killed) == "Running", "nothing has detected yet that it is dead"
        with started(WORKER, here.env, log):
            wait_for(lambda: completed_after(here, moment), 600, "a scheduled run completes", 2)
            wait_for(lambda: here.state_of(killed) == "Crashed", 300, "the server sees that the run is dead", 2)
            check_no_nightly_run_is_lost(here, killed, "Crashed", output, straight)


def test_a_run_whose_worker_is_gone_ends_and_frees_its_slot(record: dict[str, Any], tmp_path: Path) -> None:
    """The worker alone is killed: its orphan ends at its next log line, which nothing reads, or completes."""
    output, log = tmp_path / "out", tmp_path / "worker.log"
    straight = run_here({**record, "output": str(tmp_path / "straight")})
    with ExitStack() as stack:
        here = stack.enter_context(nightly_server(tmp_path, {**record, "sampling": {"steps": 50, "batch": 3}}))
        with started(WORKER, here.env, log) as worker:
            orphan = begun(here, output)
            below = descendants(worker.pid)
            stack.callback(end_all, below)
            worker.kill()
            worker.wait(10)
        moment = datetime.now(UTC)
        assert running(below), "the run goes on without its worker"
        write_request(tmp_path / "request.yaml", record)
        stack.enter_context(started(WORKER, here.env, log))
        wait_for(lambda: here.state_of(orphan) != "Running", 400, "the orphan ends", 1)
        wait_for(lambda: not running(below), 60, "nothing of it is left")
        wait_for(lambda: completed_after(here, moment), 600, "a scheduled run completes", 2)
        check_no_nightly_run_is_lost(here, orphan, here.state_of(orphan), output, straight)
        assert here.state_of(orphan) in ("Crashed", "Completed")


def test_a_worker_that_died_before_its_run_began_holds_the_slot_for_a_grace_period_only(
    record: dict[str, Any], tmp_path: Path
) -> None:
    """A run that was taken and never started sends no heartbeat: its slot is free again after the grace period."""
    with nightly_server(tmp_path, record) as here:
        grace = here.deployment("nightly")["concurrency_options"]["grace_period_seconds"]
        assert 0 < grace <= 600
        here.change("nightly", concurrency_options={"collision_strategy": "ENQUEUE", "grace_period_seconds": 150})
        taken = wait_for(lambda: here.runs("nightly"), 60, "the schedule has runs")[0]["id"]
        assert here.post(f"flow_runs/{taken}/set_state", state={"type": "PENDING"})["status"] == "ACCEPT"
        with started(WORKER, here.env, tmp_path / "worker.log"):
            waits = "a run waits for the slot"
            names = lambda: [run["state_name"] for run in here.runs("nightly")]  # noqa: E731
            wait_for(lambda: "AwaitingConcurrencySlot" in names(), 180, waits, 1)
            wait_for(lambda: "Completed" in names(), 600, "a run gets the slot and completes", 2)
            assert "Cancelled" not in names()
