"""How a run ends: as failed where shards failed, with a report of its own, one entry of history, and no leftovers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import flows.cli.main
import flows.due_jobs
import flows.publish.new_version
import flows.run.loop
import flows.run.run_step
from dsdit.digest import NO_DIGEST
from dsdit.errors import DsditError, FailedJobsError
from dsdit.mosaic.history import read_history
from dsdit.mosaic.versions import ZarrStore
from dsdit.receipts.receipts import Receipt, list_receipts, write_receipt
from dsdit.status import JobState
from dsdit.steps.scratch import create_scratch
from dsdit.window import Index, Window
from flows.plan.make_plan import latest_plan
from flows.publish.outcome import RunOutcome
from flows.run.run_step import Places, receipts_of
from tests.conftest import box
from tests.support.commands import served
from tests.support.running import sample_record

TWO_SHARDS = box(-100, 160, 480, 100)
fault: set[str] = set()
"""Shards that fail: their numbers in row-major order, or all."""


class Killed(BaseException):
    """The process ends here."""


def killed(*_: Any, **__: Any) -> Any:
    raise Killed


def step_with_a_fault(step: str, job: Index, places: Places) -> Receipt:
    """A step without pixels: nothing but its receipt."""
    plan, job = flows.run.run_step.read_plan(places.plan), Index(*job)
    if step == "mosaic" and fault & {"all", str(list(plan.layout.mosaic_jobs).index(job))}:
        raise OSError("the disk is full")
    digest = {"stage": plan.stage_digest, "sample": plan.sample_digest, "mosaic": plan.job_digest}[step](job)
    receipt = Receipt(step, job, JobState.DONE, digest, 0.0)
    write_receipt(receipts_of(step, places), receipt)
    return receipt


@pytest.fixture
def record(catalog: Path, weights: Path, tmp_path: Path) -> dict[str, Any]:
    """Two shards without pixels, on a cluster whose workers are threads of this process."""
    cluster = tmp_path / "threads.yaml"
    cluster.write_text(yaml.safe_dump({"kind": "local", "options": {"processes": False, "dashboard_address": None}}))
    compute = {"cluster": str(cluster), "workers": 1}
    return sample_record(catalog, weights, tmp_path / "out", TWO_SHARDS, compute=compute)


@pytest.fixture(autouse=True)
def _faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr(flows.run.loop, "run_step", step_with_a_fault)
    fault.clear()
    with temporary_settings({PREFECT_API_URL: served()["PREFECT_API_URL"]}):
        yield


def run(record: dict[str, Any]) -> dict[str, str]:
    from flows.sr_region import sr_region

    path = Path(record["output"]).parent / "request.yaml"
    path.write_text(yaml.safe_dump(record))
    return sr_region(str(path))


def report(record: dict[str, Any]) -> dict[str, Any]:
    return json.loads((Path(record["output"]) / "report.json").read_text())


def version(record: dict[str, Any]) -> str:
    return Path(Path(record["output"]) / "current").readlink().name


def shards(record: dict[str, Any]) -> list[tuple[str, dict[str, int]]]:
    return [(entry["version"], entry["shards"]) for entry in read_history(record["output"])]


@pytest.mark.slow
def test_a_report_of_another_run_is_not_taken(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """All failed; then all was done, and the run was killed before it published: the third has nothing to do."""
    fault.add("all")
    with pytest.raises(DsditError, match="no shard of 'test' could be written; the first reason: OSError"):
        run(record)
    fault.clear()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(flows.due_jobs, "write_json", killed)
        run(record)
    assert report(record)["jobs"]["failed"] == 2
    places = run(record)
    assert report(record)["jobs"] == {"done": 2, "planned": 2, "due": 0}
    assert Path(places["picture"]).is_file() and version(record) == "1"
    assert not (Path(record["output"]) / "scratch").exists()
    Path(places["picture"]).unlink()
    assert run(record) == places


@pytest.mark.short
def test_a_run_in_which_shards_fail_publishes_the_others_and_ends_as_failed(
    record: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(record)
    later = {**record, "sampling": {**record["sampling"], "seed": 1}}
    fault.add("all")
    with pytest.raises(FailedJobsError, match=r"2 of 2 due shards of region 'test' failed, .*the disk is full"):
        run(later)
    assert version(record) == "1", "nothing was written: there is nothing to publish"
    fault.clear()
    fault.add("0")
    with pytest.raises(typer.Exit) as ended:
        flows.cli.main.run(str(Path(record["output"]).parent / "request.yaml"))
    assert ended.value.exit_code == 3
    words = capsys.readouterr()
    assert "dsdit: 1 of 2 due shards of region 'test' failed" in words.err
    assert f"look at `dsdit status {record['output']}`" in words.err
    assert "shards" in words.out and "1 failed" in words.out
    assert version(record) == "2"
    assert shards(record) == [("1", {"done": 2}), ("2", {"done": 1, "failed": 1})]
    fault.clear()
    run(later)
    assert version(record) == "3" and report(record)["jobs"] == {"done": 2, "planned": 2, "due": 0}


@pytest.mark.short
def test_a_shard_without_a_clear_scene_has_not_failed() -> None:
    outcome = RunOutcome(3)
    for state in (JobState.DONE, JobState.DEGRADED):
        outcome = outcome.add(
            Receipt("mosaic", Index(0, 0), state, NO_DIGEST, 0.0, pixels={"cloudy": 9}, errors=("a warning",))
        )
    assert outcome == RunOutcome(3)
    bad = Receipt("mosaic", Index(0, 0), JobState.FAILED, NO_DIGEST, 0.0, errors=("why",))
    assert outcome.add(bad).add(bad) == RunOutcome(3, 2, "why")


@pytest.mark.short
def test_a_publish_that_is_killed_leaves_one_entry_a_version(
    record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(ZarrStore, "publish", killed)  # after the entry is written
        run(record)
    assert shards(record) == [("1", {"done": 2})]
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(flows.publish.new_version, "compact_receipts", killed)  # after the version is published
        run(record)
    assert shards(record) == [("1", {"done": 2})] and version(record) == "1"
    receipts = f"{record['output']}/receipts"
    gone = min(list_receipts(receipts, "mosaic"))
    write_receipt(receipts, Receipt("mosaic", gone, JobState.FAILED, NO_DIGEST, 0.0))
    run(record)
    assert shards(record) == [("1", {"done": 2}), ("2", {"done": 1})]


@pytest.mark.slow
def test_what_dead_runs_left_is_removed(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    output = Path(record["output"])
    plans, scratch = output / "plans", output / "scratch"
    old = time.time() - 86400
    cut_off = [plans / "a.json.1.partial", output / "receipts/mosaic/b.partial", output / "versions/c.tif.2.partial"]
    for path in cut_off:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("cut off")
        os.utime(path, (old, old))
    young = plans / "d.json.3.partial"
    young.write_text("still written")
    for number in range(7):
        for kind in ("json", "items.parquet", "due.parquet"):
            path = plans / f"{number:016x}.{kind}"
            path.write_text("{}")
            os.utime(path, (old + number, old + number))
    (plans / "latest.json.old").write_text("of a person")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(flows.due_jobs, "finish_report", killed)  # after the last shard
        run(record)
    assert (scratch / "data.zarr").is_dir()
    run(record)
    assert not scratch.exists()
    assert not [path for path in cut_off if path.exists()] and young.exists()
    mine = latest_plan(str(output)).digest.hex()[:16]
    kept = {path.name.partition(".")[0] for path in plans.glob("*.json")} - {"latest"}
    assert kept == {mine, *(f"{number:016x}" for number in range(3, 7))}
    assert {path.name.partition(".")[0] for path in plans.glob("*.parquet")} == kept
    assert (plans / "latest.json.old").exists()


@pytest.mark.slow
def test_scratch_of_other_jobs_gives_way(record: dict[str, Any]) -> None:
    """As a dead run leaves it before its request names another region."""
    scratch = Path(record["output"]) / "scratch"
    from flows.plan.make_plan import make_plan
    from flows.request.request import make_request
    from tests.support.running import NOW

    lattice = make_plan(make_request(record), NOW, lambda _: None).lattice
    create_scratch(str(scratch / "data.zarr"), lattice, Window(40, 40, 42, 45))
    (scratch / "receipts").mkdir()
    run(record)
    assert version(record) == "1" and not scratch.exists()
