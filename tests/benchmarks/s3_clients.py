"""Sharded Zarr on S3 through s3fs and through obstore: the same arrays, one after the other, on the tests' server.

Each client writes the same shards, reads them whole, and reads one chunk of each; the rounds alternate. What the store
owner (`dsdit.store.objects`) uses is s3fs; the ratio is what another client would gain where a job waits for S3 at
all.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from obstore.store import S3Store
from zarr.abc.store import Store
from zarr.storage import FsspecStore, ObjectStore

from dsdit.store.arrays import create_array
from tests.benchmarks.versions import pixels
from tests.support.s3 import BUCKET, KEY, S3, SECRET, s3_server

SIDE, PX, CHUNK, ROUNDS = 3, 1024, 256, 3


def clients(s3: S3) -> dict[str, Callable[[str], Store]]:
    """How each client opens a prefix."""

    def through_s3fs(prefix: str) -> Store:
        return FsspecStore.from_url(f"s3://{BUCKET}/{prefix}", storage_options={"use_listings_cache": False})

    def through_obstore(prefix: str) -> Store:
        store = S3Store(
            BUCKET,
            prefix=prefix,
            endpoint=s3.endpoint,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
        return ObjectStore(store)

    return {"s3fs": through_s3fs, "obstore": through_obstore}


def round_trip(store: Store, side: int, px: int, chunk: int) -> dict[str, float]:
    """Megabytes of pixels a second, written and read by shards, and chunks a second read alone."""
    n, shards = side * px, [pixels(px, k) for k in range(side)]
    group = zarr.open_group(store, mode="a")
    array = create_array(group, "sr", (3, n, n), (3, chunk, chunk), (3, px, px), "uint16", 0, ("band", "y", "x"))
    size, places = side * side * shards[0].nbytes / 1e6, [(r, c) for r in range(side) for c in range(side)]
    found, started = {}, time.monotonic()
    for row, col in places:
        array[:, row * px : (row + 1) * px, col * px : (col + 1) * px] = shards[col]
    found["written MB/s"], started = size / (time.monotonic() - started), time.monotonic()
    for row, col in places:
        np.testing.assert_array_equal(array[:, row * px : (row + 1) * px, col * px : (col + 1) * px], shards[col])
    found["read MB/s"], started = size / (time.monotonic() - started), time.monotonic()
    for row, col in places:
        part = array[:, row * px : row * px + chunk, col * px : col * px + chunk]
        np.testing.assert_array_equal(part, shards[col][:, :chunk, :chunk])
    found["chunks read/s"] = len(places) / (time.monotonic() - started)
    return found


def measure(side: int = SIDE, px: int = PX, chunk: int = CHUNK, rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """The best of some rounds, by client."""
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder) / "log") as s3:
        for turn in range(rounds):
            for name, client in clients(s3).items():
                found = round_trip(client(f"clients/{turn}/{name}"), side, px, chunk)
                known = best.setdefault(name, found)
                best[name] = {key: max(known[key], value) for key, value in found.items()}
    return best


if __name__ == "__main__":
    measured = measure()
    print(f"{SIDE**2} shards of {PX} px in three bands of uint16, chunks of {CHUNK} px, best of {ROUNDS} rounds")
    for name, figures in measured.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.0f}" for key, value in figures.items()), flush=True)
    ratios = {key: measured["obstore"][key] / measured["s3fs"][key] for key in measured["s3fs"]}
    print("obstore / s3fs: " + ", ".join(f"{key} {value:.2f}" for key, value in ratios.items()))
