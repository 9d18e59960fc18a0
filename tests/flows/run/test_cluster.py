"""The cluster is a setting: jobs give the same bytes wherever they run; one that is not there is a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest
from distributed import Client

import flows.clusters.address
from dsdit.errors import RequestError
from flows.request.settings import Compute
from flows.run.dask_cluster import close_at_the_end
from tests.conftest import box
from tests.support.clustered import digest_of, open_client, run_on
from tests.support.commands import BIN, environment, free_port, started, wait_for
from tests.support.running import run_here, sample_record

ONE_SHARD = box(40, 240, 360, 80)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and two workers, started by Dask's own commands."""
    folder = tmp_path_factory.mktemp("dask")
    env, port = environment(folder), free_port()
    url = f"tcp://127.0.0.1:{port}"
    dask = str(BIN / "dask")
    local = ["--local-directory", str(folder / "work")]
    with ExitStack() as stack:
        scheduler = [dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        stack.enter_context(started(scheduler, env, folder / "scheduler.log"))
        worker = [dask, "worker", url, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", *local]
        for number in (1, 2):
            stack.enter_context(started(worker, env, folder / f"worker{number}.log"))
        wait_for(lambda: "Scheduler at" in (folder / "scheduler.log").read_text(), 90, "the scheduler listens")
        for number in (1, 2):
            log = folder / f"worker{number}.log"
            wait_for(lambda log=log: "Registered to" in log.read_text(), 90, f"worker {number} is there")
        yield url


def test_steps_wait_with_the_workers_unless_the_user_says_otherwise() -> None:
    names = ("worker-saturation", "work-stealing-interval")
    options = [f"distributed.scheduler.{name}" for name in names]
    said = "import dask; from flows.run.dask_cluster import let_steps_wait_at_workers as set_defaults; "
    said += f"set_defaults(); print(*map(dask.config.get, {options}))"
    own = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.5"}
    ran = subprocess.run([sys.executable, "-c", said], env=own, capture_output=True, check=True)
    assert ran.stdout.decode().split() == ["1.5", "100ms"]
    with open_client(Compute(cluster="local", workers=1)) as client:
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.WORKER_SATURATION) == 8.0


@pytest.mark.slow
def test_a_running_scheduler_gives_the_same_bytes(address: str, catalog: Path, weights: Path, tmp_path: Path) -> None:
    compute = {"cluster": "address", "address": address}
    ran = run_on(sample_record(catalog, weights, tmp_path / "out", ONE_SHARD, compute=compute))
    here = run_here(sample_record(catalog, weights, tmp_path / "here", ONE_SHARD))
    assert ran.report.jobs == here.report.jobs == {"done": 1, "planned": 1, "due": 0}
    assert ran.report.tiles == here.report.tiles
    assert ran.report.calls == here.report.calls
    assert digest_of(ran) == digest_of(here)


def test_a_cluster_at_an_address_outlives_the_run(address: str) -> None:
    for _ in range(2):
        with open_client(Compute(cluster="address", address=address)) as client:
            assert len(client.scheduler_info(n_workers=-1)["workers"]) == 2


@pytest.mark.parametrize("where", ["tcp://127.0.0.1:{port}", "nonsense://127.0.0.1:{port}"])
def test_nobody_at_the_address_is_one_sentence(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.clusters.address, "CONNECT_S", 1.0)
    url = where.format(port=free_port())
    with pytest.raises(RequestError) as caught, open_client(Compute(cluster="address", address=url)):
        pass
    assert f"no Dask scheduler answers at {url!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["tcp", "tls", "nonsense"])
def test_a_client_that_cannot_connect_leaves_nothing_to_the_garbage_collector(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collected later, while the next client starts, it would wait for a lock of its own thread, for ever."""
    monkeypatch.setattr(flows.clusters.address, "CONNECT_S", 1.0)
    before = event_loops()
    url = f"{scheme}://127.0.0.1:{free_port()}"
    with pytest.raises(RequestError) as caught, open_client(Compute(cluster="address", address=url)):
        pass
    assert "no Dask scheduler answers" in str(caught.value)
    assert event_loops() == before


def event_loops() -> int:
    """Threads that run an event loop of Dask."""
    return sum(thread.name == "IO loop" for thread in threading.enumerate())


def test_cuda_without_dask_cuda_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(RequestError, match=r"needs dask-cuda: .*cluster: local"), open_client(Compute(cluster="cuda")):
        pass


def test_cuda_without_a_gpu_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def no_gpu(**_: object) -> None:
        raise NVMLError("NVML Shared Library Not Found")

    module = ModuleType("dask_cuda")
    module.LocalCUDACluster = no_gpu  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_cuda", module)
    wanted = pytest.raises(RequestError, match=r"found no GPU .*NVMLError.*cluster: local")
    with wanted as caught, open_client(Compute(cluster="cuda")):
        pass
    assert "\n" not in str(caught.value)


class Stuck:
    """A cluster of which a worker outlives the time that it has to end in."""

    left: tuple[object, ...] | None = None

    def __enter__(self) -> Stuck:
        return self

    def __exit__(self, *error: object) -> None:
        self.left = error
        raise TimeoutError


def test_a_worker_that_does_not_end_in_time_costs_the_run_nothing(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Stuck()
    with close_at_the_end(cluster) as opened:
        assert opened is cluster
    assert cluster.left == (None, None, None)
    assert "a Dask worker did not end in time" in caplog.text
    with pytest.raises(TimeoutError, match="of the run itself"), close_at_the_end(Stuck()):
        raise TimeoutError("of the run itself")


def seen_by_a_worker() -> tuple[int, bool, str | None]:
    """Its process, whether torch is imported though no step ran, and a variable of its environment."""
    return os.getpid(), "torch" in sys.modules, os.environ.get("DSDIT_TEST")


def test_workers_are_forked_ready_and_with_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):
        monkeypatch.setenv("DSDIT_TEST", value)
        with open_client(Compute(workers=1)) as client:
            ((pid, imported, seen),) = client.run(seen_by_a_worker).values()
            assert imported and seen == value
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: process_of(client) not in (None, pid), 60, "another worker is there", 0.05)  # noqa: B023


def test_a_client_beside_its_scheduler_needs_no_socket_and_the_workers_do() -> None:
    with open_client(Compute(workers=1)) as client:
        assert client.scheduler.address.startswith("inproc://")
        assert all(address.startswith("tcp://") for address in client.scheduler_info()["workers"])
        assert client.submit(pow, 3, 4).result(timeout=60) == 81


def process_of(client: Client) -> int | None:
    """Process of the one worker, None while there is none."""
    client.wait_for_workers(1, timeout=60)
    found = [seen[0] for seen in client.run(seen_by_a_worker, on_error="ignore").values()]
    return found[0] if found else None
