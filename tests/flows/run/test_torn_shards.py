"""A shard whose writer was killed is due again, even where the plan goes back to what its old receipt was of."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from prefect.settings import PREFECT_API_URL, temporary_settings

import dsdit.steps.mosaic
import flows.run.run_step
from dsdit.digest import NO_DIGEST
from dsdit.errors import FailedJobsError
from dsdit.imaging.radiometry import SR_FILL
from dsdit.mosaic.folder_versions import published_mosaic
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt, compact_receipts, list_receipts, write_receipt
from dsdit.status import JobState, PixelStatus
from dsdit.steps.shard import shard_objects
from dsdit.window import Index
from flows.plan.make_plan import latest_plan
from flows.run.frontier import Wavefront
from tests.conftest import box
from tests.support.clustered import digest_of
from tests.support.commands import served
from tests.support.running import prepare, run_here, sample_record

SMALL = box(200, 240, 240, 200)
TWO_SHARDS = box(200, 240, 500, 200)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.slow
def test_a_setting_tried_killed_and_taken_back_leaves_nothing_of_it(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", SMALL, sampling={"steps": 2, "batch": 2})
    first = run_here(record)
    before = digest_of(first)
    compact_receipts(first.places.receipts, "mosaic")
    write = flows.run.run_step.write_receipt

    def killed_before_it(url: str, receipt: Receipt) -> None:
        if receipt.step == "mosaic" and receipt.state == "done":
            raise Killed
        write(url, receipt)

    monkeypatch.setattr(flows.run.run_step, "write_receipt", killed_before_it)
    with pytest.raises(Killed):
        run_here({**record, "sampling": {"steps": 2, "batch": 2, "seed": 1}})
    monkeypatch.setattr(flows.run.run_step, "write_receipt", write)
    back = run_here(record)
    assert digest_of(back) == before
    assert back.report.complete


def test_a_stage_of_other_inputs_loses_its_receipt_before_it_is_written_over(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    _, plan, places = prepare(sample_record(catalog, weights, tmp_path / "out", SMALL))
    mine, other = plan.layout.stage_jobs[:2]
    for job, digest in ((mine, plan.stage_digest(mine)), (other, NO_DIGEST)):
        write_receipt(places.scratch_receipts, Receipt("stage", job, JobState.DONE, digest, 1.0))
    Wavefront(plan, places, plan.layout.mosaic_jobs)
    assert set(list_receipts(places.scratch_receipts, "stage")) == {mine}


def whole_shard(ran_to: str, plan: Plan, job: Index) -> dict[str, np.ndarray]:
    """Every array of one shard of a mosaic."""
    names = [object_name.split("/c/")[0] for object_name in shard_objects(plan, job)]
    tree = zarr.open_group(ran_to, mode="r")
    first, side, found = plan.layout.mosaic_jobs_window, plan.lattice.shard_px, {}
    for name in names:
        px = side // plan.lattice.scale if name.startswith("lr/") else side
        row, col = (job.row - first.row0) * px, (job.col - first.col0) * px
        found[name] = tree[name][..., row : row + px, col : col + px]
    return found


@pytest.mark.parametrize(
    "earlier", [pytest.param(True, marks=pytest.mark.short), pytest.param(False, marks=pytest.mark.slow)]
)
def test_a_shard_whose_writing_fails_midway_stays_as_it_was(
    earlier: bool, catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full in the middle of one shard; the run publishes the other one, and nothing of this."""
    cluster = tmp_path / "threads.yaml"
    cluster.write_text(yaml.safe_dump({"kind": "local", "options": {"processes": False, "dashboard_address": None}}))
    compute = {"cluster": str(cluster), "workers": 1}
    record = sample_record(catalog, weights, tmp_path / "out", TWO_SHARDS, compute=compute)
    path = tmp_path / "request.yaml"
    write, torn = dsdit.steps.mosaic.write_shard, set[Index]()

    def full(url: str, name: str, origin: Index, job: Index, values: np.ndarray) -> None:
        if name == "residual" and (job in torn or not torn):
            torn.add(job)
            raise OSError(errno.ENOSPC, "No space left on device")
        write(url, name, origin, job, values)

    def run(record: dict[str, Any]) -> None:
        from flows.sr_region import sr_region

        path.write_text(yaml.safe_dump(record))
        sr_region(str(path))

    with temporary_settings({PREFECT_API_URL: served()["PREFECT_API_URL"]}):
        if earlier:
            run(record)
        monkeypatch.setattr(dsdit.steps.mosaic, "write_shard", full)
        with pytest.raises(FailedJobsError, match=r"1 of 2 due shards .*No space left"):
            run({**record, "sampling": {**record["sampling"], "seed": 1}})
    plan, (job,) = latest_plan(record["output"]), torn
    (other,) = set(plan.layout.mosaic_jobs) - torn
    versions = tmp_path / "out" / "versions"
    now = str(versions / ("2" if earlier else "1") / "mosaic.zarr")
    assert published_mosaic(record["output"]) == now
    got = whole_shard(now, plan, job)
    inside = plan.region.mask(plan.lattice.shard_window(job))
    if earlier:
        before = str(versions / "1" / "mosaic.zarr")
        for name, values in whole_shard(before, plan, job).items():
            assert values.tobytes() == got[name].tobytes(), name
        assert whole_shard(before, plan, other)["0/sr"].tobytes() != whole_shard(now, plan, other)["0/sr"].tobytes()
        assert not (got["0/status"] == PixelStatus.FAILED).any()
    else:
        assert (got["0/status"][inside] == PixelStatus.FAILED).all() and (got["0/sr"] == SR_FILL).all()
