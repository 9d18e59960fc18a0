"""`python -m tests.benchmarks NAME ...` runs each in a process of its own and appends its output to RESULTS.md.

A NAME may carry arguments: `python -m tests.benchmarks "wavefront_at_size 40 75"`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
SCALE = ("plan_at_size", "weak_scaling", "publish_at_size", "wavefront_at_size")


def cpu() -> str:
    """Model of the processor, and cores that this process may use."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.processor()
    return f"{model}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start"


def main(names: list[str]) -> None:
    """Appends one section a benchmark; one that ends badly ends it with its code, after the others."""
    code = 0
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    for name in names or SCALE:
        machine = cpu()
        module, *arguments = name.split()
        day = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        argument = f'"{name}"' if arguments else name
        command_line = f"`python -m tests.benchmarks {argument}` at {commit.stdout.strip()}"
        _write(f"\n## {name}, {day}\n\n{command_line}, on {machine}\n\n")
        command = [sys.executable, "-u", "-m", f"tests.benchmarks.{module}", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                _write(f"- {line.rstrip()}\n")
        if process.returncode:
            _write(f"- ended with code {process.returncode}\n")
            code = code or process.returncode
    sys.exit(code)


def _write(text: str) -> None:
    """On the terminal and in RESULTS.md at once: what was measured stays when a long benchmark is cut off."""
    with RESULTS.open("a") as file:
        file.write(text)
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
