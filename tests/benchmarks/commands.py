"""CPU of `dsdit --help` and `dsdit plan sample`, against another checkout: `DSDIT_BASE` is its path.

Both checkouts run in turns, each several times, in the same environment and in a folder of their own with one sample
region. The CPU is that of the command and of what it started; the smallest of the runs counts, since other work on the
machine only adds to it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from catalogs.sample_region import make_sample_region
from tests.support.commands import ROOT, environment

TIMES = 5
BOUNDS = {"--help": 0.6, "plan sample": 0.7}
"""Command -> largest ratio of its CPU to that of the other checkout."""


def cpu_s(checkout: Path, command: str, folder: Path) -> float:
    """Seconds of the processor that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = environment(folder / "prefect", PYTHONPATH=str(checkout))
    arguments = [sys.executable, "-m", "flows.cli", *command.split()]
    done = subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(base: Path, command: str, folder: Path, times: int = TIMES) -> tuple[float, float]:
    """(CPU seconds of this checkout, of `base`), after a run of each that fills caches."""
    checkouts = {"this": ROOT, "base": base}
    spent: dict[str, list[float]] = {name: [] for name in checkouts}
    for turn in range(times + 1):
        for name, checkout in checkouts.items():
            seconds = cpu_s(checkout, command, folder / name)
            if turn:
                spent[name].append(seconds)
    return min(spent["this"]), min(spent["base"])


def main() -> None:
    """Prints a line for each command; fails where a bound is missed."""
    base = Path(os.environ["DSDIT_BASE"]).resolve()
    missed = []
    with tempfile.TemporaryDirectory() as work:
        for name in ("this", "base"):
            make_sample_region(Path(work) / name / "output" / "sample-region")
        for command, bound in BOUNDS.items():
            own, other = compare(base, command, Path(work))
            ratio = own / other
            print(f"dsdit {command}: {own:.2f} s of CPU, {other:.2f} s before: {ratio:.2f} times (bound {bound})")
            if ratio > bound:
                missed.append(command)
    sys.exit(f"over its bound: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
