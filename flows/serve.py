"""`dsdit serve`: the three commands of a small installation in one process group, on loopback.

prefect server start; prefect deploy --all --prefect-file infra/prefect.yaml; prefect worker start --pool sr

The alarms of `flows.alarms` are set too. Leases of concurrency slots are stored on disk: in memory they would be lost
with the server, and the slot of a run that died with it would never be free again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from dsdit.errors import DsditError

POOL = "sr"
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
_READY_S = 60.0


def serve(port: int = 4200) -> None:
    """Starts server, pool, deployments and worker, and waits; ends them all on Ctrl-C, SIGTERM or SIGHUP.

    Raises DsditError where one of them does not start.
    """
    if not Path("infra/prefect.yaml").exists():
        raise DsditError("infra/prefect.yaml is not here: run this in the project's root")
    api = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_API_URL": api}
    environment.setdefault("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", LEASES)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(0))
    running: list[subprocess.Popen[bytes]] = []
    try:
        if not _healthy(api):
            running.append(_start(["server", "start", "--host", "127.0.0.1", "--port", str(port)], environment))
            _wait(api, running[0])
        _call(["work-pool", "create", POOL, "--type", "process", "--overwrite"], environment)
        _call(["--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect.yaml"], environment)
        _call([], environment, "flows.alarms")
        running.append(_start(["worker", "start", "--pool", POOL, "--limit", "2"], environment))
        sys.stdout.write(
            f"\nUI: http://127.0.0.1:{port}\nIn another shell:\n  export PREFECT_API_URL={api}\n"
            "  prefect deployment run sr-region/sr-region -p region=sample --watch --watch-timeout 900\n\n"
        )
        sys.stdout.flush()
        while all(process.poll() is None for process in running):
            time.sleep(0.5)
        raise DsditError("the Prefect server or worker has ended: see its output above")
    except KeyboardInterrupt:
        return
    finally:
        for process in reversed(running):  # the worker ends while its server still answers
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _command(arguments: list[str], module: str = "prefect") -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own: a Ctrl-C at the terminal comes to `serve` alone, which ends them in their order."""
    return subprocess.Popen(_command(arguments), env=environment, start_new_session=True)  # noqa: S603


def _call(arguments: list[str], environment: dict[str, str], module: str = "prefect") -> None:
    command = _command(arguments, module)
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)  # noqa: S603
    if done.returncode:
        raise DsditError(f"`{' '.join(command[1:])}` ended with code {done.returncode}: see its output above")


def _healthy(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _wait(api: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _READY_S
    while not _healthy(api):
        if server.poll() is not None or time.monotonic() > end:
            raise DsditError(f"the Prefect server does not answer at {api}: is the port taken?")
        time.sleep(0.3)
