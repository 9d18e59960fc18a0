"""The wavefront with many workers that wait: how much of a run's time is their steps'."""

from __future__ import annotations

from tests.benchmarks.wavefront_at_size import measure_weak_scaling

if __name__ == "__main__":
    for line in measure_weak_scaling():
        print(line, flush=True)
