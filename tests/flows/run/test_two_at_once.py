"""Two runs on one output: the second is refused with words that name the first, and takes over once that is dead."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from dsdit.errors import LeaseError
from dsdit.mosaic.lease import NAME, held, read
from dsdit.steps.publish.report import due_jobs
from dsdit.store.arrays import forget_arrays
from flows.request.request import make_request, scratch_of
from flows.run.frontier import Wavefront
from flows.run.run_step import run_step
from tests.support.clustered import digest_of
from tests.support.commands import (
    DSDIT,
    call,
    descendants,
    end_all,
    files_below,
    served,
    started,
    wait_for,
    write_request,
)
from tests.support.digests import mosaic_digest
from tests.support.equator import equator_record
from tests.support.kept import AROUND_ZERO, equator_catalog, kept_run
from tests.support.running import prepare, run_steps


@pytest.mark.slow
def test_a_second_run_is_refused_and_takes_over_from_a_dead_one(
    weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    straight = kept_run(tmp_path_factory.getbasetemp(), weights)
    catalog, output = equator_catalog(tmp_path_factory.getbasetemp()), tmp_path / "out"
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "mine").write_text("of somebody else")
    record = equator_record(catalog, weights, output, AROUND_ZERO, lease_expire_s=10, scratch=str(disk))
    command = [*DSDIT, "run", str(write_request(tmp_path / "request.yaml", record))]
    env = served()
    with started([*command, "--set", "sampling.steps=1000"], env, tmp_path / "log") as first:
        wait_for(lambda: list(disk.glob("out-*/receipts/stage/*")), 180, "the first run has begun")
        second = call(command, env)
        assert first.poll() is None, (tmp_path / "log").read_text()
        below = descendants(first.pid)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        end_all(below)
    assert second.returncode == 2
    assert "Traceback" not in second.stderr
    (sentence,) = [line for line in second.stderr.splitlines() if line.startswith("dsdit:")]
    words = read(f"{output}/lease.json").words
    assert words.startswith("the run of region 'equator' that began at 20") and "(flow run " in words
    assert f"is held by {words}: wait for its end, or set on_conflict: wait" in sentence
    third = call(command, env)
    assert third.returncode == 0, third.stderr
    assert f"{words} is dead: its lease is taken over" in third.stdout + third.stderr
    assert [path.name for path in disk.iterdir()] == ["mine"]
    forget_arrays()
    assert mosaic_digest(straight.plan, str(output / "mosaic.zarr")) == digest_of(straight)
    assert read(f"{output}/lease.json").holder == ""


@pytest.mark.faults
def test_a_run_whose_lease_is_taken_stops_and_publishes_nothing(
    weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    catalog, output = equator_catalog(tmp_path_factory.getbasetemp()), tmp_path / "out"
    record = equator_record(catalog, weights, output, AROUND_ZERO, lease_expire_s=5)
    path = write_request(tmp_path / "request.yaml", record)
    log = tmp_path / "log"
    with started([*DSDIT, "run", str(path)], served(), log) as first:
        wait_for(lambda: list(output.glob("scratch/receipts/sample/*")), 240, "the first run samples", 0.01)
        taken = json.dumps({"holder": "other", "words": "somebody", "renewed": 1, "expire_s": 5.0})
        (output / "lease.json").write_text(taken)
        assert first.wait(120) == 2, log.read_text()
    (sentence,) = [line for line in log.read_text().splitlines() if line.startswith("dsdit:")]
    assert "is lost (somebody has taken it): this run stops; the same command goes on" in sentence
    assert json.loads((output / "lease.json").read_text())["holder"] == "other"
    assert not list(output.glob("receipts/mosaic/*.failed.json"))
    assert (output / "versions/1/mosaic.zarr").is_dir()
    assert not (output / "mosaic.zarr").exists() and not (output / "report.json").exists()


def test_two_outputs_that_name_one_scratch_have_a_folder_each(weights: Path, tmp_path: Path) -> None:
    record = equator_record(equator_catalog(tmp_path), weights, tmp_path / "a/out", AROUND_ZERO)
    record = {**record, "scratch": str(tmp_path / "disk")}
    outputs = [str(tmp_path / "a/out"), str(tmp_path / "b/out"), "s3://a/out", "s3://b/out"]
    places = [make_request({**record, "output": output}).scratch_url for output in outputs]
    assert len(set(places)) == 4 and all(Path(place).parent == tmp_path / "disk" for place in places)
    assert make_request({**record, "output": outputs[0] + "/"}).scratch_url == places[0]
    assert [scratch_of(output, record["scratch"]) for output in outputs] == places  # as `dsdit status` computes them


@pytest.mark.slow
def test_a_step_that_outlived_its_run_writes_nothing(weights: Path, tmp_path: Path) -> None:
    """As on a cluster whose workers go on when the process that submitted them is gone."""
    record = equator_record(equator_catalog(tmp_path), weights, tmp_path / "out", AROUND_ZERO, keep_scratch=True)
    request, plan, places = prepare(record)
    with held(request.output, "the first") as lease:
        mine = places._replace(lease=lease.url, holder=lease.holder)
        front = Wavefront(plan, mine, due_jobs(plan, mine.receipts), request.keep_scratch)
        done = run_steps(front, run_step)
    one_of_each = {receipt.step: receipt.job for receipt in done}
    assert set(one_of_each) == {"stage", "sample", "mosaic"}
    with held(request.output, "the second"):
        before = files_below(tmp_path / "out")
        for step, job in one_of_each.items():
            with pytest.raises(LeaseError, match=r"\(the second has taken it\): this run stops"):
                run_step(step, job, mine)
        after = files_below(tmp_path / "out")
    assert {k: v for k, v in before.items() if k != NAME} == {k: v for k, v in after.items() if k != NAME}
    with pytest.raises(LeaseError, match=r"\(it was taken away\)"):
        run_step("mosaic", one_of_each["mosaic"], mine)
