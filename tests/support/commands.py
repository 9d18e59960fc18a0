"""Commands in processes of their own: their environment, what they started, and waiting for what they do."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
"""Console scripts of the environment that runs the tests."""
DSDIT = [sys.executable, "-m", "flows.cli.main"]
PREFECT = [sys.executable, "-m", "prefect"]


@lru_cache(maxsize=1)
def prefect_home() -> Path:
    """One folder of Prefect's for all commands that bring their own server: its database is made once."""
    folder = tempfile.TemporaryDirectory(prefix="prefect-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a command, with Prefect's files below `home` and no server that others started."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    return {
        **kept,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "COLUMNS": "400",
        **more,
    }


def served(**more: str) -> dict[str, str]:
    """The environment of a command that talks to one Prefect server, which all commands of this process share."""
    return environment(prefect_home(), PREFECT_API_URL=_shared_api(), **more)


@lru_cache(maxsize=1)
def _shared_api() -> str:
    stack = ExitStack()
    atexit.register(stack.close)
    log = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True)))
    return stack.enter_context(prefect_api(environment(log / "home"), log / "server.log"))


def healthy(api: str) -> bool:
    """Whether a server answers."""
    try:
        return httpx.get(f"{api}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def prefect_api(env: dict[str, str], log: Path) -> Iterator[str]:
    """API of a Prefect server on a free port."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    with started([*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)], env, log):
        wait_for(lambda: healthy(api), 180, "the server is healthy")
        yield api


def write_request(path: Path, record: dict[str, Any]) -> Path:
    """The record as a request's YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(record))
    return path


def free_port() -> int:
    """A port of 127.0.0.1 without a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition: Callable[[], Any], seconds: float, what: str, pause_s: float = 0.1) -> Any:
    """The first true value of `condition`; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"did not happen within {seconds} s: {what}"
        time.sleep(pause_s)
    return value


def _parents() -> dict[int, int]:
    """Process -> parent, of all processes that still run."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    return parents


def descendants(pid: int) -> dict[int, str]:
    """Processes below `pid` with their command lines."""
    parents, found, front = _parents(), {}, {pid}
    while front:
        front = {child for child, parent in parents.items() if parent in front}
        found |= {child: command_line(child) for child in front}
    return found


def command_line(pid: int) -> str:
    """Of a process; empty where it is gone."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def running(processes: dict[int, str]) -> dict[int, str]:
    """Those of `processes` that still run, by number and command line."""
    parents = _parents()
    return {pid: line for pid, line in processes.items() if pid in parents and command_line(pid) == line}


def end_all(processes: dict[int, str]) -> None:
    """Kills those of `processes` that still run."""
    for pid in running(processes):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@contextmanager
def started(
    arguments: list[str], env: dict[str, str], log: Path, cwd: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to `log`; ended on exit, with all that it started."""
    with log.open("ab") as output:
        process = subprocess.Popen(arguments, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=cwd)
    try:
        yield process
    finally:
        below = descendants(process.pid)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)
        end_all(below)


def call(arguments: list[str], env: dict[str, str], timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """A command's exit code and output."""
    return subprocess.run(
        arguments,
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=timeout_s,
    )


def files_below(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Relative path -> time of the last change and content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
