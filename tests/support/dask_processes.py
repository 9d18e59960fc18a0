"""A Dask scheduler and nannies with their workers, each a process of its own, to be killed and started again."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.support.commands import BIN, ROOT, descendants, end_all, environment, free_port, started, wait_for


class DaskProcesses:
    """A scheduler and nannies with one-thread workers; what was killed is started again by `heal`.

    The worker that may be killed is the one below the first nanny.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.workers = workers
        self.address = ""
        self._env = environment(folder, PYTHONPATH=str(ROOT))
        self._running: dict[str, tuple[subprocess.Popen[bytes], ExitStack]] = {}
        self._started = 0

    def heal(self) -> None:
        """Starts what is not there; all of it, where the scheduler is gone. Returns once all workers are registered."""
        if not self._lives("scheduler"):
            self.close()
            port = free_port()
            self.address = f"tcp://127.0.0.1:{port}"
            log = self._start("scheduler", ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"])
            wait_for(lambda: "Scheduler at" in log.read_text(), 240, "the scheduler listens")
        places = ["--host", "127.0.0.1", "--no-dashboard", "--local-directory", str(self.folder / "work")]
        logs = [
            self._start(nanny, ["worker", self.address, "--nworkers", "1", "--nthreads", "1", *places])
            for nanny in (f"nanny{number}" for number in range(self.workers))
            if not self._lives(nanny)
        ]
        for log in logs:
            wait_for(lambda log=log: "Registered to" in log.read_text(), 400, "a worker is there")

    def pid(self, victim: str) -> int | None:
        """Process of "scheduler", "nanny" or "worker"; None where it is not there."""
        place = {"nanny": "nanny0", "worker": "nanny0"}.get(victim, victim)
        if not self._lives(place):
            return None
        pid = self._running[place][0].pid
        if victim != "worker":
            return pid
        return next((child for child, line in descendants(pid).items() if "spawn_main" in line), None)

    def reap(self, victim: str) -> None:
        """Waits for the end of a scheduler or nanny that was killed: until then it would be taken for alive."""
        if victim in ("scheduler", "nanny"):
            self._running["nanny0" if victim == "nanny" else victim][0].wait(30)

    def close(self) -> None:
        """Kills all of it at once, without an orderly shutdown."""
        for process, stack in self._running.values():
            below = descendants(process.pid)
            process.kill()
            end_all(below)
            stack.close()
        self._running = {}

    def _lives(self, name: str) -> bool:
        return name in self._running and self._running[name][0].poll() is None

    def _start(self, name: str, arguments: list[str]) -> Path:
        self._started += 1
        log, stack = self.folder / f"{name}.{self._started}.log", ExitStack()
        process = stack.enter_context(started([str(BIN / "dask"), *arguments], self._env, log))
        self._running[name] = process, stack
        return log
