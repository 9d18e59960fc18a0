"""A region from its catalog to its mosaic on a cluster's devices: tiles a second, and the seconds of each step.

`python -m tests.benchmarks.region_on_device [SIDE_M [CLUSTER[:WORKERS] ...]]`: clusters by name or file, by default
`cuda` where there is a GPU, otherwise `local`. Without Prefect; the clock starts once all workers are there and the
batch was tried. The load of the GPU is read from its driver, twice a second.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from threading import Event, Thread

import torch
from distributed import Client

from dsdit.steps.publish.report import due_jobs
from flows.request.cluster_file import load_cluster
from flows.run.dask_executor import DaskExecutor
from flows.run.executor import open_executor
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from tests.support.equator import equator_record, make_equator
from tests.support.running import prepare

TILE_PX, BATCH, SIDE_M = 128, {"cuda": 64, "cpu": 8}, {"cuda": 5760.0, "cpu": 600.0}
WARM_S = 90.0


@contextmanager
def watched_gpu(shares: list[float]) -> Iterator[None]:
    """Percent of the time in which the GPU ran anything, into `shares`; nothing where no driver answers."""
    if shutil.which("nvidia-smi") is None:
        yield
        return
    ended = Event()
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]

    def look() -> None:
        while not ended.wait(0.5):
            answer = subprocess.run(query, capture_output=True, text=True, check=True)
            shares.append(float(answer.stdout.splitlines()[0]))

    thread = Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def measure(side_m: float, clusters: list[str]) -> Iterator[str]:
    """Lines for RESULTS.md, the same region on each cluster."""
    with tempfile.TemporaryDirectory() as temporary:
        catalog = make_equator(Path(temporary) / "catalog", side_m / 2 + 200)
        for number, cluster in enumerate(clusters):
            yield from measure_cluster(
                *cluster.split(":"), catalog=catalog, output=Path(temporary) / f"{number}", side_m=side_m
            )


def measure_cluster(cluster: str, workers: str = "2", *, catalog: Path, output: Path, side_m: float) -> Iterator[str]:
    """Lines of one cluster."""
    device, half = "cuda" if torch.cuda.is_available() else "cpu", side_m / 2
    record = equator_record(
        catalog,
        Path("dsdit-tiny"),
        output,
        (-half, -half, half, half),
        model={"weights": "dsdit-tiny", "device": device},
        compute={"cluster": cluster, "workers": int(workers)},
        sampling={"batch": BATCH[device]},
        tiling={},
    )
    request, plan, places = prepare(record)
    compute, limits = request.compute, RunLimits(request.compute.futures_per_worker, worker_wait_s=WARM_S)
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)
    with open_executor(load_cluster(cluster), compute) as executor:
        assert isinstance(executor, DaskExecutor)
        client = executor.client
        _wait_for_all(client)
        executor.try_batch(places, limits)
        shares: list[float] = []
        started = time.monotonic()
        with watched_gpu(shares):
            receipts = executor.run_wavefront(front, limits, RunHooks(on_failure=print))
        took = time.monotonic() - started
        many = len(client.scheduler_info(n_workers=-1)["workers"])
    tiles = sum(len(receipt.tiles) for receipt in receipts if receipt.step == "sample")
    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    batches = f"{tiles} tiles of {TILE_PX} px in batches of {BATCH[device]}"
    yield f"{cluster}: {many} workers, {name}; {batches}, {took:.1f} s"
    spent = {step: sum(r.seconds for r in receipts if r.step == step) for step in ("stage", "sample", "mosaic")}
    seconds = ", ".join(f"{step} {spent_s:.1f}" for step, spent_s in spent.items())
    yield f"{cluster}: {tiles / took:.1f} tiles/s; worker seconds {seconds}"
    if shares:
        yield f"{cluster}: the GPU ran something in {mean(shares):.0f}% of the time, {max(shares):.0f}% at most"


def _wait_for_all(client: Client) -> None:
    """Once no more workers come."""
    counted, since = 0, time.monotonic()
    while time.monotonic() - since < 5:
        now = len(client.scheduler_info(n_workers=-1)["workers"])
        if now != counted:
            counted, since = now, time.monotonic()
        time.sleep(0.2)


if __name__ == "__main__":
    gpu = torch.cuda.is_available()
    arguments = sys.argv[1:] or [SIDE_M["cuda" if gpu else "cpu"]]
    for line in measure(float(arguments[0]), sys.argv[2:] or ["cuda" if gpu else "local"]):
        print(line, flush=True)
