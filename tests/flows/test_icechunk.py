"""Runs whose mosaic is in a repository: the bytes of plain Zarr, whole states, time travel, no shard twice."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import icechunk
import pytest
import s3fs

import dsdit
from dsdit.errors import StoreError
from dsdit.mosaic.icechunk_versions import IcechunkStore
from dsdit.mosaic.version import REPOSITORY
from dsdit.mosaic.versions import mosaic_store
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import read_receipts
from dsdit.store.arrays import forget_arrays
from flows.plan.make_plan import latest_plan
from flows.request.request import make_request
from flows.run.run_step import RETRIES
from flows.tasks import check_nightly
from tests.conftest import box
from tests.support.checks import check_read_error_is_reported, check_same_answer
from tests.support.clustered import digest_of
from tests.support.commands import (
    DSDIT,
    ROOT,
    call,
    descendants,
    end_all,
    files_below,
    running,
    served,
    started,
    wait_for,
    write_request,
)
from tests.support.digests import mosaic_digest
from tests.support.equator import equator_record
from tests.support.faulty_s3 import FAULTS, faulty_proxy
from tests.support.forked import run_forked
from tests.support.history_shards import read_history_shards
from tests.support.kept import AROUND_ZERO, equator_catalog, kept_run
from tests.support.nightly_catalog import NORTH, add_scene, make_nightly_catalog, nightly_record
from tests.support.reader import READER
from tests.support.repository import JOBS, begin, write
from tests.support.running import Ran, run_here, sample_record
from tests.support.s3 import BUCKET, KEY, S3, SECRET, s3_server

INLINE_BYTES = 512
PYRAMID = 6
"""Objects of level 1 over the strip: `sr` and `status` of three shards."""
NIGHTLY = "import sys; from flows.sr_region import sr_region; print(sr_region(sys.argv[1], nightly=True)['mosaic'])"


def digest(plan: Plan, output: str, version: int | None = None) -> str:
    forget_arrays()
    with mosaic_store(output).reading(version) as mosaic:
        return mosaic_digest(plan, mosaic)


def repository(output: Path) -> icechunk.Repository:
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(output / REPOSITORY)))


def chunks(output: Path) -> set[str]:
    return {path.name for path in (output / REPOSITORY / "chunks").iterdir()}


def objects_of(plain: Path, row: int) -> int:
    """Shards of a row of jobs that a repository keeps as objects: smaller ones are stored in its lists."""
    shards = [p for p in plain.glob("*/*/c/**/*") if p.is_file() and p.parts[-2] == str(row)]
    return sum(path.stat().st_size > INLINE_BYTES for path in shards)


def run(path: Path) -> str:
    env = served()
    done = call([sys.executable, "-c", NIGHTLY, str(path)], env, 500)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_every_layer_is_that_of_plain_zarr_and_what_failed_is_mended_in_the_same_branch(
    weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base, catalog = tmp_path_factory.getbasetemp(), tmp_path / "catalog"
    shutil.copytree(equator_catalog(base), catalog)
    sound = (catalog / "equator-lr.tif").read_bytes()
    (catalog / "equator-lr.tif").write_bytes(sound[:100])
    record = equator_record(catalog, weights, tmp_path / "out", AROUND_ZERO)
    with run_forked(record) as ran:
        check_read_error_is_reported(ran, "equator-lr-1")
        assert set(read_receipts(ran.places.receipts, "mosaic")) == set(ran.plan.layout.mosaic_jobs)
    (catalog / "equator-lr.tif").write_bytes(sound)
    with run_forked(record) as ran:
        check_same_answer(kept_run(base, weights), ran)
        assert ran.report.jobs == {"done": 4, "planned": 4, "due": 0}
    assert repository(tmp_path / "out").list_branches() == {"main", "night-1"}
    with run_forked(record) as ran:
        assert not ran.receipts


@pytest.mark.short
def test_runs_write_their_shards_alone_and_a_reader_gets_whole_versions(weights: Path, tmp_path: Path) -> None:
    catalog, output = make_nightly_catalog(tmp_path / "catalog"), tmp_path / "out"
    record = nightly_record(catalog, weights, output, store="icechunk", commit_every_s=1)
    path = write_request(tmp_path / "request.yaml", record)
    (tmp_path / "reader.py").write_text(READER)
    scope: dict[str, Any] = {"__name__": "reader"}
    exec(READER, scope)
    assert "5 of 5 shards are due" in run(path)
    old, old_plan = scope["state"](str(output)), latest_plan(str(output))
    first = chunks(output)
    log = tmp_path / "reads"
    with started([sys.executable, "reader.py", str(output)], served(PYTHONPATH=str(ROOT)), log, tmp_path):
        wait_for(lambda: len(log.read_text().splitlines()) > 3, 60, "the reader reads")
        add_scene(catalog, "second", "2024-07-12T10:20:21Z", NORTH, gain=1.2)
        output_text = run(path)
        new = scope["state"](str(output))
        count = len(log.read_text().splitlines())
        wait_for(lambda: len(log.read_text().splitlines()) > count + 3, 60, "the reader reads on")
    reads = log.read_text().splitlines()[:-1]
    assert old != new and set(reads) == {old, new}
    assert sorted(reads, key=[old, new].index) == reads
    rows = {job[0] - old_plan.layout.mosaic_jobs.window.row0 for job in read_history_shards(str(output))}
    assert f"{len(rows)} of 5 shards are due" in output_text and rows and max(rows) < 4, "those in the south stay"
    assert dsdit.mosaic_versions(str(output)) == [1, 2] and scope["state"](str(output), 1) == old
    plain = run_here({**record, "store": "zarr", "output": str(tmp_path / "plain")})
    assert digest(plain.plan, str(output)) == digest_of(plain)
    expected = sum(objects_of(Path(plain.places.mosaic), row) for row in rows)
    assert first < chunks(output) and expected <= len(chunks(output)) - len(first) <= expected + PYRAMID
    assert digest(old_plan, str(output), 1) != digest_of(plain)
    check_nothing_due(path, output)
    check_commands(output, plain)


def check_nothing_due(path: Path, output: Path) -> None:
    before = {name: files_below(output / name) for name in (REPOSITORY, "versions")}
    assert "0 of 5 shards are due" in run(path)
    assert {name: files_below(output / name) for name in before} == before
    assert repository(output).list_branches() == {"main", "version-1", "version-2"}


def check_commands(output: Path, plain: Ran) -> None:
    env = served()
    status = call([*DSDIT, "status", str(output)], env)
    assert status.returncode == 0 and "versions in mosaic.icechunk: 1, 2" in status.stdout, status.stderr
    exported = call([*DSDIT, "export", str(output), str(output / "exported.tif")], env)
    assert exported.returncode == 0, exported.stderr
    assert (output / "exported.tif").read_bytes() == (output / "sr.tif").read_bytes()
    item = json.loads((output / "item.json").read_text())
    assert item["assets"]["mosaic"]["href"] == "./mosaic.icechunk"
    assert (output / "current").readlink() == Path("versions/2")


@pytest.mark.faults
def test_a_killed_flow_goes_on_in_its_branch_to_the_same_bytes(catalog: Path, weights: Path, tmp_path: Path) -> None:
    place = box(-400, 160, 900, 100)
    straight = run_here(sample_record(catalog, weights, tmp_path / "straight", place))
    output = tmp_path / "out"
    more: dict[str, Any] = {"store": "icechunk", "commit_every_s": 0.2, "lease_expire_s": 8}
    path = write_request(tmp_path / "request.yaml", sample_record(catalog, weights, output, place, **more))
    command, env = [*DSDIT, "run", str(path)], served()
    with started(command, env, tmp_path / "log") as process:
        receipts = output / "receipts/mosaic"
        wait_for(lambda: list(receipts.glob("*.done.json")) or process.poll() is not None, 400, "a receipt", 0.01)
        below = descendants(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    workers = {pid: line for pid, line in below.items() if "forkserver" in line}
    wait_for(lambda: not running(workers), 30, "the Dask workers of a killed flow end by themselves")
    end_all(below)
    finished = read_receipts(str(output / "receipts"), "mosaic")
    total = len(straight.plan.layout.mosaic_jobs)
    assert 1 <= len(finished) < total
    check_committed(straight, output, list(finished))
    assert not (output / "current").exists() and dsdit.mosaic_versions(str(output)) == []
    done = call(command, env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(output / REPOSITORY)
    assert f"{total - len(finished)} of {total} shards are due" in done.stdout + done.stderr
    after = read_receipts(str(output / "receipts"), "mosaic")
    assert len(after) == total and {job: after[job] for job in finished} == finished
    assert digest(straight.plan, str(output)) == digest_of(straight)
    assert dsdit.mosaic_versions(str(output)) == [1] and not (output / "scratch").exists()


def check_committed(straight: Ran, output: Path, jobs: list[Any]) -> None:
    """What a receipt proves is in the run's branch."""
    from dsdit.store.mounts import mounted

    session = repository(output).readonly_session("night-1")
    with mounted("branch", session.store) as mosaic:
        for job in jobs:
            window = straight.plan.lattice.shard_window(job)
            expected = mosaic_digest(straight.plan, straight.places.mosaic, window)
            assert mosaic_digest(straight.plan, mosaic, window) == expected


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.mark.slow
def test_a_nightly_run_on_s3_has_the_bytes_of_a_local_one(
    s3: S3, weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp()
    local = kept_run(base, weights)
    output = f"s3://{BUCKET}/nights/out"
    record = {**equator_record(equator_catalog(base), weights, Path("replaced"), AROUND_ZERO), "output": output}
    record = {**record, "scratch": f"s3://{BUCKET}/nights/scratch", "store": "icechunk"}
    check_nightly(make_request(record))
    path = write_request(tmp_path / "request.yaml", record)
    assert run(path).splitlines()[0] == f"{output}/{REPOSITORY}"
    assert digest(local.plan, output) == digest_of(local)
    assert dsdit.mosaic_versions(output) == [1]
    assert dsdit.open_mosaic(output).attrs["jobs"]["done"] == 4
    keys = s3.objects("nights/out")
    assert {f"nights/out/{name}" for name in ("sr.tif", "picture.png", "item.json", "versions/1/sr.tif")} <= set(keys)
    assert "nights/out/refs/branch.night-1/ref.json" not in keys
    texts = [s3.read(key) for key in keys if "chunks" not in key]
    assert not [text for text in texts if SECRET.encode() in text or KEY.encode() in text]
    assert "0 of 4 shards are due" in run(path)
    changed = {key for key, written in s3.objects("nights/out").items() if keys.get(key) != written}
    assert not [key for key in changed if REPOSITORY in key or "versions" in key]


@pytest.mark.faults
def test_a_store_that_spoils_a_tenth_of_all_requests_costs_no_run(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    output = f"s3://{BUCKET}/spoilt/out"
    with faulty_proxy(s3.endpoint, 0.1, 8) as (url, counts):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for value in (1, 2, 3):
            for again in range(RETRIES, -1, -1):  # a cut answer is an error: the same command goes on
                try:
                    store = IcechunkStore(output)
                    version = begin(store)
                    store.commit(version, write(store, version, dict.fromkeys(JOBS[:value], value)))
                    break
                except (icechunk.IcechunkError, StoreError):
                    if not again:
                        raise
            store.publish(version, 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    s3fs.S3FileSystem.clear_instance_cache()
    assert sum(counts[fault] for fault in FAULTS) > 10 and counts["cut"] and counts["lost"]
    assert dsdit.mosaic_versions(output) == [2, 3]
    for version, values in ((2, {0, 2}), (3, {0, 3})):
        assert set((dsdit.open_mosaic(output, version)["sr"].values // 10).ravel().tolist()) == values


@pytest.mark.slow
def test_no_version_is_overlooked_where_answers_break_off(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overlooked version would have its number given again, and its shards collected as garbage."""
    output = f"s3://{BUCKET}/cut/out"
    for value in (1, 2, 3):
        store = IcechunkStore(output)
        version = begin(store)
        store.commit(version, write(store, version, dict.fromkeys(JOBS, value)))
        store.publish(version, 3)
    versions_read: set[tuple[int, ...]] = set()
    with faulty_proxy(s3.endpoint, 0.1, 8, ("cut",)) as (url, counts):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for _ in range(10):
            with suppress(StoreError):  # an error is lawful; a version less is not
                store = IcechunkStore(output)
                versions_read |= {tuple(store.versions()) for _ in range(3)}
                store._forget(3)
    assert versions_read == {(1, 2, 3)} and counts["cut"] > 20
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    s3fs.S3FileSystem.clear_instance_cache()
    for version in (1, 2, 3):
        assert (dsdit.open_mosaic(output, version)["sr"].values // 10 == version).all()
