"""What a tile of the shipped weights costs on this machine's device: all its passes, from arrays to arrays.

Each figure is of the call that the sample step makes, copies to the device and back among it: the median of as many as
fit half a second, on a GPU three at least, after one that is not counted. Memory is what tensors took at most.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from statistics import median

import torch

from dsdit.model.weights import load_weights
from tests.support.tiles import random_tiles, sampler_of

SIDE_PX = 128
BATCHES = {"cuda": (16, 64, 256), "cpu": (8,)}
FEWEST = {"cuda": 3, "cpu": 1}
LONGEST_S = 0.5
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def measure(device: str, batches: tuple[int, ...]) -> Iterator[str]:
    """Lines for RESULTS.md."""
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if device == "cuda" else "the CPU, one thread"
    yield f"{where}, torch {torch.__version__}; tiles of {SIDE_PX} px, all passes"
    for name, dtype in DTYPES.items():
        weights = load_weights("dsdit-tiny", device, dtype)
        for setting, defaults in (("default", weights.config.sampler), ("faithful", weights.config.faithful)):
            for batch in batches:
                sampler = sampler_of(weights, batch, defaults)
                tiles = random_tiles(sampler, SIDE_PX)
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                sampler(tiles)
                took: list[float] = []
                while len(took) < FEWEST[device] or sum(took) < LONGEST_S:
                    started = time.monotonic()
                    sampler(tiles)
                    took.append(time.monotonic() - started)
                seconds = median(took) / batch
                peak = f", {torch.cuda.max_memory_allocated() / 1e9:.2f} GB" if device == "cuda" else ""
                yield (
                    f"{name}, {setting} ({sampler.passes} passes), batch {batch}: {1 / seconds:.1f} tiles/s, "
                    f"{seconds:.5f} s a tile{peak}"
                )


def main(batches: list[str]) -> None:
    """Measures, with other batches than its own if they are given."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for line in measure(device, tuple(map(int, batches)) or BATCHES[device]):
        print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
