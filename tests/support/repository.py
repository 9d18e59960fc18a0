"""A small mosaic of four shards in a repository, written as workers and flows do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsdit.mosaic.icechunk_versions import IcechunkStore, forked
from dsdit.mosaic.version import Version
from dsdit.mosaic.versions import mosaic_store
from dsdit.store.arrays import create_array, open_group, read_window, write_shard
from dsdit.store.objects import write_bytes
from dsdit.window import Index, Window

SIDE = 64
JOBS = (Index(0, 0), Index(0, 1), Index(1, 0), Index(1, 1))
WHOLE = Window(0, 0, 2 * SIDE, 2 * SIDE)


def shard(value: int) -> np.ndarray:
    """Values that do not compress to nothing, all in the decade of `value`."""
    return (10 * value + np.random.default_rng(value).integers(0, 10, (SIDE, SIDE))).astype(np.uint16)


def write(store: IcechunkStore, version: Version, values: dict[Index, int]) -> list[bytes]:
    """Each shard in a fork of its own, as workers do; nothing is committed."""
    fork = store.forked(version).fork
    changed = []
    for job, value in values.items():
        with forked(version.mosaic, fork) as (place, changes):
            write_shard(place, "sr", Index(0, 0), job, shard(value))
            changed.append(changes())
    return changed


def begin(store: IcechunkStore) -> Version:
    version = store.begin()
    with store.writing(version) as mosaic:
        create_array(
            open_group(mosaic, "a"), "sr", (2 * SIDE, 2 * SIDE), (32, 32), (SIDE, SIDE), "uint16", 0, ("y", "x")
        )
    return version


def publish(output: Path, values: dict[Index, int], keep: int = 2) -> Version:
    store = IcechunkStore(str(output))
    version = begin(store)
    store.commit(version, write(store, version, values))
    write_bytes(f"{version.folder}/item.json", version.name.encode())
    store.publish(version, keep)
    return version


def decades(output: Path, version: int | None = None) -> list[list[int]]:
    """The decades stored in each shard, as a reader gets them."""
    with mosaic_store(str(output)).reading(version) as mosaic:
        values = read_window(mosaic, "sr", WHOLE, WHOLE) // 10
    parts = [values[r * SIDE : (r + 1) * SIDE, c * SIDE : (c + 1) * SIDE] for r, c in JOBS]
    return [sorted(set(part.ravel().tolist())) for part in parts]


def chunks(output: Path) -> set[str]:
    return {path.name for path in (output / "mosaic.icechunk" / "chunks").iterdir()}


def files(output: Path) -> dict[str, int]:
    return {str(p.relative_to(output)): p.stat().st_mtime_ns for p in output.rglob("*") if p.is_file()}
