"""Kills through Prefect: the flow's process, or the Prefect worker, dies; the same deployment is run again.

A moment is the number of receipts of stages and samples in scratch. The run that comes after waits for the lease of a
dead one to expire, and for an orphan to end. Receipts of shards that were written before the kill must stay as they
are, and in every other pair of trials, where scratch is kept, those of stages and samples too.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from dsdit.receipts.receipts import read_receipts
from dsdit.status import JobState
from tests.faults.campaign import Trial, draw_moment, judge
from tests.support.commands import descendants, end_all, started, wait_for, write_request
from tests.support.installation import WORKER, Installation, prefect_server
from tests.support.running import Ran, run_here

VICTIMS = ("flow", "Prefect worker")
ENGINE = "prefect.engine"
"""In the command line of a flow's process."""


class PrefectWorkers:
    """One Prefect worker at a time; what a killed one left behind is ended at the end of all."""

    def __init__(self, here: Installation, log: Path) -> None:
        self._here, self._log = here, log
        self._orphans = ExitStack()
        self._stack = ExitStack()
        self.start()

    def start(self) -> None:
        """A new worker."""
        self._worker = self._stack.enter_context(started(WORKER, self._here.env, self._log))

    def kill(self, victim: str) -> bool:
        """SIGKILL of the worker, in whose place comes a new one, or of the flow's process that it started, if any."""
        below = descendants(self._worker.pid)
        if victim == "flow":
            engines = [pid for pid, line in below.items() if ENGINE in line]
            for pid in engines[:1]:
                os.kill(pid, signal.SIGKILL)
            return bool(engines)
        self._orphans.callback(end_all, below)
        self._worker.kill()
        self._worker.wait(10)
        self.start()
        return True

    def close(self) -> None:
        """Ends all of it."""
        self._stack.close()
        self._orphans.close()


def run_prefect_campaign(
    runs: int,
    seed: int,
    make_record: Callable[[Path], dict[str, Any]],
    folder: Path,
    report: Callable[[str], None] = print,
) -> list[Trial]:
    """`runs` trials, victims in turn; `make_record` gives the request for an output."""
    chance, trials = random.Random(seed), []
    straight = run_here(make_record(folder / "straight"))
    with prefect_server(folder) as here:
        workers = PrefectWorkers(here, folder / "worker.log")
        try:
            report(f"seed {seed}: {runs} trials through Prefect")
            for number in range(runs):
                begun, delay_s = draw_moment(chance, len(straight.receipts) - 1)
                trial = Trial(number, VICTIMS[number % 2], begun, delay_s if begun else 3 * delay_s)
                record = {**make_record(folder / f"out{number}"), "keep_scratch": number % 4 < 2}
                path = write_request(folder / f"{number}.yaml", record)
                _run_trial(trial, here, workers, path, straight, folder / f"out{number}")
                report(str(trial))
                trials.append(trial)
        finally:
            workers.close()
    return trials


def _taken(here: Installation, path: Path) -> str:
    """A run that a worker has taken; its id."""
    run = here.begin_run(path, "sr-region")
    wait_for(lambda: here.state_of(run) != "Scheduled", 240, "the run is taken", 0.1)
    return run


def _run_trial(
    trial: Trial, here: Installation, workers: PrefectWorkers, path: Path, straight: Ran, output: Path
) -> None:
    began, receipts = time.monotonic(), str(output / "receipts")
    run = _taken(here, path)
    receipt_count = lambda: len(list(output.glob("scratch/receipts/*/*")))  # noqa: E731
    wait_for(lambda: receipt_count() >= trial.begun or here.state_of(run) in _ENDS, 600, "a step", 0.05)
    time.sleep(trial.delay_s)
    trial.finished = here.state_of(run) in _ENDS or not workers.kill(trial.victim)
    kept, steps = read_receipts(receipts, "mosaic"), _steps(output)
    again = here.begin_run(path, "sr-region")
    wait_for(lambda: here.state_of(again) in _ENDS, 600, "the next run ends", 0.5)
    if here.state_of(again) != "Completed":
        trial.errors.append(f"the next run ended {here.state_of(again)}")
    trial.seconds = time.monotonic() - began
    after = judge(trial, straight, output)
    trial.again = sum(after.get(job) != receipt for job, receipt in kept.items() if receipt.state is JobState.DONE)
    trial.again += sum(steps[name] != content for name, content in _steps(output).items() if name in steps)


def _steps(output: Path) -> dict[str, bytes]:
    """Receipts of stages and samples in scratch, while it is there."""
    found: dict[str, bytes] = {}
    for path in output.glob("scratch/receipts/*/*.json"):
        with suppress(FileNotFoundError):
            found[f"{path.parent.name}/{path.name}"] = path.read_bytes()
    return found


_ENDS = ("Completed", "Failed", "Crashed", "Cancelled")
