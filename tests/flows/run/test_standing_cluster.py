"""A cluster that outlives its runs, as one at an address does: nothing of a run stays in its workers for the next."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from dsdit.mosaic.lease import held
from dsdit.steps.publish.report import due_jobs, make_report
from dsdit.window import Index
from flows.run.frontier import Wavefront
from flows.run.run_step import Places, run_step
from tests.conftest import box
from tests.support.clustered import digest_of
from tests.support.running import Ran, prepare, run_here, run_steps, sample_record

ONE_SHARD, THREE_SHARDS = box(100, 200, 220, 120), box(-400, 160, 900, 100)


@pytest.mark.slow
def test_an_output_that_is_made_anew_and_larger_is_written_whole(catalog: Path, weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    straight = run_here(sample_record(catalog, weights, tmp_path / "straight", THREE_SHARDS))
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        for bounds in (ONE_SHARD, THREE_SHARDS):
            shutil.rmtree(output, ignore_errors=True)
            request, plan, places = prepare(sample_record(catalog, weights, output, bounds))
            with held(request.output, "the run") as lease:
                mine = places._replace(lease=lease.url, holder=lease.holder)
                front = Wavefront(plan, mine, due_jobs(plan, mine.receipts))

                def run(step: str, job: Index, places: Places) -> Any:
                    return client.submit(run_step, step, job, places, pure=False).result()

                receipts = run_steps(front, run)
            ran = Ran(request, plan, places, receipts, make_report(plan, places.receipts, tuple(receipts)))
    assert ran.report.jobs == {"done": 3, "planned": 3, "due": 0}
    assert digest_of(ran) == digest_of(straight)
