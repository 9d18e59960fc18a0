"""A Dask worker killed in the middle costs the steps it held: the run ends, with the bytes of a straight run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from distributed import Client

from flows.run.progress import Progress
from tests.conftest import box
from tests.support.clustered import digest_of, run_on
from tests.support.running import run_here, sample_record

ONE_SHARD = box(40, 240, 360, 80)
THREE_SHARDS = box(-400, 160, 900, 100)
LOCAL = {"cluster": "local", "workers": 2}


class Killer:
    """Kills the busiest worker whenever the share of finished tiles passes one of `shares`."""

    def __init__(self, *shares: float) -> None:
        self.left = sorted(shares)
        self.killed: list[int] = []

    def __call__(self, client: Client, progress: Progress) -> None:
        if not self.left or progress.tiles < self.left[0] * progress.tiles_total:
            return
        held = client.processing()
        address = max(held, key=lambda worker: len(held[worker]))
        if not held[address]:
            return
        self.left.pop(0)
        pid = client.run(os.getpid, workers=[address])[address]
        os.kill(pid, signal.SIGKILL)
        self.killed.append(pid)


def check(catalog: Path, weights: Path, folder: Path, bounds: tuple[float, ...], killer: Killer) -> None:
    kills = len(killer.left)
    straight = run_here(sample_record(catalog, weights, folder / "straight", bounds))
    ran = run_on(sample_record(catalog, weights, folder / "killed", bounds, compute=LOCAL), killer)
    assert len(killer.killed) == kills
    assert ran.report.jobs == straight.report.jobs
    assert ran.report.jobs["due"] == 0
    assert ran.report.tiles == straight.report.tiles
    assert ran.report.pixels == straight.report.pixels
    assert ran.report.errors == ()
    assert digest_of(ran) == digest_of(straight)


@pytest.mark.faults
def test_a_killed_worker_costs_nothing(catalog: Path, weights: Path, tmp_path: Path) -> None:
    check(catalog, weights, tmp_path, ONE_SHARD, Killer(0.2))


@pytest.mark.faults
def test_workers_killed_before_the_first_tile_in_the_middle_and_late(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    check(catalog, weights, tmp_path, THREE_SHARDS, Killer(0.0, 0.4, 0.8))
