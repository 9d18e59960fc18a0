"""The wavefront with nothing in its steps: what a job costs client and scheduler, and whether memory stays flat.

Client and scheduler are this process, its CPU and resident size theirs; workers are processes of their own. Where
scaling is measured the workers are threads of this process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import dask
import psutil
from distributed import Client, Future, LocalCluster

from dsdit.digest import NO_DIGEST
from dsdit.grid import Grid
from dsdit.plan.candidates import Cells, Items
from dsdit.plan.files import write_plan
from dsdit.plan.plan import ModelChoice, Plan
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.receipts.receipts import Receipt
from dsdit.region import Region
from dsdit.status import JobState
from dsdit.steps.scratch import create_scratch
from dsdit.store.arrays import forget_arrays
from dsdit.window import Index, Window
from flows.run.dask_cluster import client_of, let_steps_wait_at_workers
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.loop import WavefrontRun
from flows.run.progress import Progress
from flows.run.run_step import Places
from tests.benchmarks.continent import LATTICE

FUTURES_PER_WORKER, REPORT_EVERY = 4, 10_000
CPU_MS, GROWTH, EFFICIENCY = 8.0, 0.1, 0.95
"""Bounds: CPU of client and scheduler a job, of this machine; growth of memory; weak scaling."""
_QUIET = {
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.worker.profile.enabled": False,
}
"""What each worker does beside its steps would be done by its own machine: 64 in one process do it less often."""

_sampled: list[float] = []
"""When samples of `sleeping_step` began, in threads of this process."""


def stub_step(step: str, job: Index, places: Places) -> Receipt:
    """A step without pixels."""
    return Receipt(step, Index(*job), JobState.DONE, NO_DIGEST, 0.0)


def sleeping_step(step: str, job: Index, places: Places) -> Receipt:
    """A step that waits: 2 s a job, all of it in its sample."""
    if step == "sample":
        _sampled.append(time.monotonic())
    time.sleep(2.0 if step == "sample" else 0.0)
    return stub_step(step, job, places)


def plan_of_jobs(rows: int, cols: int) -> Plan:
    """A rectangle of so many whole shards, without items."""
    grid = Grid("EPSG:5070", 1.0, 10)
    region = Region.from_bounds("r", grid, grid.bounds_of(Window(0, 0, rows, cols).refine(LATTICE.shard_px), 1.0))
    model = ModelChoice("published", "0" * 64)
    return Plan(region, LATTICE, SamplerSettings(), model, 0.3, {}, Items([]), Cells.of({}))


@contextmanager
def stub_cluster(workers: int, processes: bool) -> Iterator[Client]:
    """A scheduler here and single-threaded workers: threads, or processes with their nannies in one of their own.

    Threads would each take this process's whole size for theirs, so that none has a limit.
    """
    let_steps_wait_at_workers()
    with (
        dask.config.set(_QUIET if not processes else {}),
        LocalCluster(
            n_workers=0 if processes else workers,
            threads_per_worker=1,
            processes=processes,
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        client_of(cluster) as client,
    ):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--nthreads", "1"]
        command += ["--nworkers", str(workers), "--memory-limit", "0", "--no-dashboard"]
        apart = subprocess.Popen(command, stderr=subprocess.DEVNULL) if processes else None
        try:
            client.wait_for_workers(workers, timeout=60)
            yield client
        finally:
            if apart is not None:
                apart.terminate()
                apart.wait()


@dataclass
class Watch:
    """Measurements of a run."""

    seconds: float = 0.0
    ended: float = 0.0
    cpu_s: float = 0.0
    steps: int = 0
    open_most: int = 0
    """Steps with a state in the client, at most."""
    scratch_most: int = 0
    """Stages and samples that are in scratch, at most."""
    alive_most: int = 0
    """Futures alive, at most."""
    early_bytes: int = 0
    """Largest resident size in the tenth after the first hundredth of the jobs."""
    late_bytes: int = 0
    """Largest resident size from there on."""


class _Counting:
    """A client that asserts the bound on unfinished futures at every submission."""

    def __init__(self, client: Client, limit: int, watch: Watch) -> None:
        self._client, self._limit, self._watch = client, limit, watch
        self._futures: list[Future] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def map(self, *args: Any, **more: Any) -> list[Future]:
        futures: list[Future] = self._client.map(*args, **more)
        self._futures = [f for f in self._futures if f.status == "pending"] + futures
        alive = len(self._futures)
        assert alive <= self._limit, f"{alive} futures alive, {self._limit} allowed"
        self._watch.alive_most = max(self._watch.alive_most, alive)
        return futures


def run_stub(
    rows: int,
    cols: int,
    workers: int,
    step: Callable[[str, Index, Places], Receipt] = stub_step,
    warm: int = 1000,
    processes: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Watch:
    """Runs rows x cols jobs; resident size is compared before and after `warm` jobs and a tenth more.

    `report` gets a line about progress every 10,000 jobs.
    """
    watch, process, lock = Watch(), psutil.Process(), Lock()
    with tempfile.TemporaryDirectory() as folder, stub_cluster(workers, processes) as client:
        plan = plan_of_jobs(rows, cols)
        url = write_plan(plan, str(Path(folder) / "plans"))
        places = Places.of(url, str(Path(folder) / "scratch"), folder)
        forget_arrays()
        create_scratch(places.scratch, LATTICE, plan.layout.jobs_window)
        front = Wavefront(plan, places, plan.layout.mosaic_jobs)

        def observe(progress: Progress) -> None:
            with lock:
                watch.open_most = max(watch.open_most, len(front.waits) + len(front.left))
                watch.scratch_most = max(watch.scratch_most, len(front.done))
                if watch.steps % 50 == 0 and progress.jobs >= warm:
                    size = process.memory_info().rss
                    if progress.jobs < 2 * warm:
                        watch.early_bytes = max(watch.early_bytes, size)
                    watch.late_bytes = max(watch.late_bytes, size)
                if progress.jobs >= reported[-1] + REPORT_EVERY:
                    reported.append(progress.jobs)
                    spent_ms, rss = 1000 * (time.process_time() - cpu) / progress.jobs, process.memory_info().rss
                    report(
                        f"so far {progress.jobs:,} jobs, {spent_ms:.2f} ms of CPU each, {rss / 2**20:.0f} MiB resident"
                    )

        def count(_: Receipt) -> None:
            watch.steps += 1

        def refuse(reason: str) -> None:
            raise AssertionError(reason)

        counted, reported = _Counting(client, FUTURES_PER_WORKER * workers, watch), [0]
        started, cpu = time.monotonic(), time.process_time()
        hooks = RunHooks(observe, refuse, count)
        WavefrontRun(counted, front, RunLimits(FUTURES_PER_WORKER), hooks, step=step).run()  # type: ignore[arg-type]
        watch.ended, watch.cpu_s = time.monotonic(), time.process_time() - cpu
        watch.seconds = watch.ended - started
        assert not front.waits and not front.left and not front.done and not front.readers
    return watch


def measure(rows: int = 250, cols: int = 400, workers: int = 4) -> Iterator[str]:
    """100,000 jobs of three futures each. Fails at the end where memory grows above its bound."""
    watch = run_stub(rows, cols, workers, processes=True, report=partial(print, flush=True))
    jobs, short = rows * cols, min(rows, cols)
    cpu_ms, growth = 1000 * watch.cpu_s / jobs, watch.late_bytes / watch.early_bytes - 1
    yield f"jobs: {jobs:,} of {rows} x {cols}, {watch.steps:,} steps, {workers} workers in processes of their own"
    yield (
        f"a job: {1000 * watch.seconds / jobs:.2f} ms wall, {cpu_ms:.2f} ms of CPU in client and scheduler "
        f"(bound {CPU_MS:g} ms): {'reached' if cpu_ms <= CPU_MS else 'MISSED'}"
    )
    yield (
        f"resident: {watch.early_bytes / 2**20:.0f} MiB to job 2,000, {watch.late_bytes / 2**20:.0f} MiB at most "
        f"afterwards ({100 * growth:+.1f}%, bound {100 * GROWTH:g}%)"
    )
    yield f"futures alive: {watch.alive_most} at most (bound {FUTURES_PER_WORKER * workers})"
    yield (
        f"scratch: {watch.scratch_most:,} stages and samples at most, {watch.scratch_most / short:.2f} a job of the "
        f"shorter side ({short})"
    )
    assert growth <= GROWTH, f"memory grew by {100 * growth:.1f}%"


def measure_weak_scaling(workers: int = 64, each: int = 20) -> Iterator[str]:
    """So many jobs of 2 s a worker, against the time that they take without any waiting. Fails below the bound.

    The samples are what sleeps, and the fringe samples too: the region is so large that there are `each` a worker.
    Start-up is apart: it ends where the first sample begins, with the scenes under it staged.
    """
    rows, cols = 32 - 2, workers * each // 32 - 2
    _sampled.clear()
    watch = run_stub(rows, cols, workers, sleeping_step, warm=10**9)
    assert len(_sampled) == workers * each, f"{len(_sampled)} samples"
    ideal, sampling = each * 2.0, watch.ended - min(_sampled)
    efficiency = ideal / sampling
    yield f"workers: {workers} threads of one process, {each} samples of 2 s each, {watch.steps:,} steps in all"
    yield (
        f"efficiency: {efficiency:.3f} (bound {EFFICIENCY:g}): {sampling:.1f} s from the first sample to the end "
        f"for {ideal:.1f} s of sleep"
    )
    yield f"with the start-up, {watch.seconds - sampling:.1f} s of stages: {ideal / watch.seconds:.3f}"
    assert efficiency >= EFFICIENCY, f"weak scaling is {efficiency:.3f}"


if __name__ == "__main__":
    arguments = [int(number) for number in sys.argv[1:3]]
    for line in measure(*arguments):
        print(line, flush=True)
