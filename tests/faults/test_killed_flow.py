"""The flow's process killed in the middle: the same command does the rest and nothing else, to the same bytes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from dsdit.receipts.receipts import Receipt, read_receipts
from dsdit.store.arrays import forget_arrays
from dsdit.window import Index
from tests.conftest import box
from tests.support.clustered import digest_of
from tests.support.commands import (
    DSDIT,
    call,
    descendants,
    end_all,
    environment,
    files_below,
    prefect_home,
    running,
    served,
    started,
    wait_for,
    write_request,
)
from tests.support.digests import mosaic_digest
from tests.support.running import Ran, run_here, sample_record

THREE_SHARDS = box(-400, 160, 900, 100)


def count(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


def kill_at(command: list[str], env: dict[str, str], output: Path, pattern: str, number: int, log: Path) -> None:
    """Starts the command and kills its process once `number` files below `output` match; its Dask workers must go."""
    with started(command, env, log) as process:
        wait_for(
            lambda: count(output, pattern) >= number or process.poll() is not None, 180, f"{number} x {pattern}", 0.01
        )
        below = descendants(process.pid)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL, log.read_text()
    workers = {pid: line for pid, line in below.items() if "forkserver" in line}
    assert len(workers) >= 2, below
    wait_for(lambda: not running(workers), 30, "the Dask workers of a killed flow end by themselves")
    end_all(below)


def finish(command: list[str], env: dict[str, str], straight: Ran, output: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end; its mosaic must be that of a straight run."""
    done = call(command, env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(output / "mosaic.zarr")
    forget_arrays()
    assert mosaic_digest(straight.plan, str(output / "mosaic.zarr")) == digest_of(straight)
    assert not (output / "scratch").exists()
    assert (output / "current").readlink() == Path("versions/1")
    assert [path.name for path in (output / "versions").iterdir()] == ["1"]
    return done


def standing(output: Path) -> dict[Index, Receipt]:
    """Receipts of shards, in objects or joined in the table; `seconds` in them differs between runs."""
    receipts = str(output / "receipts")
    return read_receipts(receipts, "mosaic")


@pytest.mark.faults
def test_the_same_command_goes_on_after_a_killed_flow(catalog: Path, weights: Path, tmp_path: Path) -> None:
    straight = run_here(sample_record(catalog, weights, tmp_path / "straight", THREE_SHARDS))
    output = tmp_path / "out"
    request = write_request(
        tmp_path / "request.yaml", sample_record(catalog, weights, output, THREE_SHARDS, lease_expire_s=8)
    )
    command, env = [*DSDIT, "run", str(request)], served()
    kill_at(command, env, output, "receipts/mosaic/*.done.json", 1, tmp_path / "log")
    finished = standing(output)
    total = len(straight.plan.layout.mosaic_jobs)
    assert 1 <= len(finished) < total
    done = finish(command, env, straight, output)
    after = standing(output)
    assert len(after) == total
    assert {job: after[job] for job in finished} == finished
    assert f"{total - len(finished)} of {total} shards are due" in done.stdout + done.stderr


@pytest.mark.faults
def test_a_flow_killed_while_staging_while_sampling_and_late(catalog: Path, weights: Path, tmp_path: Path) -> None:
    straight = run_here(sample_record(catalog, weights, tmp_path / "straight", THREE_SHARDS))
    output = tmp_path / "out"
    request = write_request(
        tmp_path / "request.yaml", sample_record(catalog, weights, output, THREE_SHARDS, lease_expire_s=8)
    )
    command, env = [*DSDIT, "run", str(request)], served()
    kill_at(command, env, output, "scratch/receipts/stage/*.json", 3, tmp_path / "log")
    staged = files_below(output / "scratch" / "receipts" / "stage")
    kill_at(command, env, output, "scratch/receipts/sample/*.json", 2, tmp_path / "log")
    again = files_below(output / "scratch" / "receipts" / "stage")
    assert all(again[name] == staged[name] for name in staged if name in again)
    kill_at(command, env, output, "receipts/mosaic/*.done.json", 2, tmp_path / "log")
    finished = standing(output)
    finish(command, env, straight, output)
    after = standing(output)
    assert {job: after[job] for job in finished} == finished


@pytest.mark.faults
def test_a_flow_that_gets_sigterm_leaves_no_process(catalog: Path, weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    record = sample_record(catalog, weights, output, THREE_SHARDS, lease_expire_s=8)
    request = write_request(tmp_path / "request.yaml", record)
    with started([*DSDIT, "run", str(request)], environment(prefect_home()), tmp_path / "log") as process:
        wait_for(lambda: count(output, "scratch/receipts/stage/*.json") > 0, 180, "a staged job", 0.05)
        below = descendants(process.pid)
        assert [line for line in below.values() if "uvicorn" in line], below
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    wait_for(lambda: not running(below), 10, "workers and Prefect's temporary server end with the flow")
