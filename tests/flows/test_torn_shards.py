"""A shard whose writer was killed is due again, even where the plan goes back to what its old receipt was of."""

from __future__ import annotations

from pathlib import Path

import pytest

import flows.jobs
from dsdit.receipts import Receipt, compact_receipts, list_receipts, write_receipt
from dsdit.status import JobState
from flows.wavefront import Wavefront
from tests.conftest import box
from tests.support.clustered import digest_of
from tests.support.running import prepare, run_here, sample_record

SMALL = box(200, 240, 240, 200)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.short
def test_a_setting_tried_killed_and_taken_back_leaves_nothing_of_it(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", SMALL, sampling={"steps": 2, "batch": 2})
    first = run_here(record)
    before = digest_of(first)
    compact_receipts(first.places.receipts, "mosaic")
    write = flows.jobs.write_receipt

    def killed_before_it(url: str, receipt: Receipt) -> None:
        if receipt.step == "mosaic" and receipt.state == "done":
            raise Killed
        write(url, receipt)

    monkeypatch.setattr(flows.jobs, "write_receipt", killed_before_it)
    with pytest.raises(Killed):
        run_here({**record, "sampling": {"steps": 2, "batch": 2, "seed": 1}})
    monkeypatch.setattr(flows.jobs, "write_receipt", write)
    back = run_here(record)
    assert digest_of(back) == before
    assert back.report.complete


def test_a_stage_of_other_inputs_loses_its_receipt_before_it_is_written_over(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    _, plan, places = prepare(sample_record(catalog, weights, tmp_path / "out", SMALL))
    mine, other = plan.layout.stage_jobs[:2]
    for job, digest in ((mine, plan.stage_digest(mine)), (other, "0" * 64)):
        write_receipt(places.scratch_receipts, Receipt("stage", job, JobState.DONE, digest, 1.0))
    Wavefront(plan, places, plan.layout.mosaic_jobs)
    assert set(list_receipts(places.scratch_receipts, "stage")) == {mine}
