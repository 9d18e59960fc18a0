"""Cost of a version in both stores: a whole mosaic, and runs that touch one corner, on a disk and on S3.

Both stores get the same shards through the same interface, one after the other in this process; in a repository each is
written in a fork, pickled there and back, and committed at the end. The S3 server is that of the tests, on loopback and
in memory. Mosaics of few large shards show the cost of writing; one of many small shards shows what grows with the
number of objects. Seconds of such runs are those of the fourth version, when the oldest is dropped too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsdit.mosaic.icechunk_versions import forked
from dsdit.mosaic.version import Kind, Version
from dsdit.mosaic.versions import MosaicStore, mosaic_store
from dsdit.store.arrays import create_array, forget_arrays, open_group, read_window, write_shard
from dsdit.store.objects import join
from dsdit.window import Index, Window
from tests.support.s3 import BUCKET, S3, s3_server

KEEP, RUNS, ROUNDS = 2, 3, 2
MB = 1e6


class Size(NamedTuple):
    """A mosaic of `side` x `side` shards of `px` x `px` pixels in three bands."""

    side: int
    px: int
    corner: int
    """Shards a side of what a run touches."""


LARGE, MANY = Size(5, 1024, 1), Size(100, 32, 1)


def pixels(px: int, seed: int) -> NDArray[np.uint16]:
    """Smooth ground with grain, which compresses about as a mosaic does."""
    row, col = np.mgrid[:px, :px]
    ground = 2000 + 900 * np.sin(row / 37 + seed) * np.cos(col / 53)
    return (ground + np.random.default_rng(seed).normal(0, 60, (3, px, px))).astype(np.uint16)


def write(store: MosaicStore, size: Size, side: int, seed: int) -> dict[str, float]:
    """Begins a version, writes its north-western `side` x `side` shards and publishes; seconds of each."""
    shards = [pixels(size.px, seed + k) for k in range(min(side * side, 8))]
    took, started = {}, time.monotonic()
    version = store.begin()
    with store.writing(version) as mosaic:
        n = size.side * size.px
        create_array(
            open_group(mosaic, "a").require_group("0"), "sr", (3, n, n), (3, size.px, size.px),
            (3, size.px, size.px), "uint16", 0, ("band", "y", "x"),
        )  # fmt: skip
    took["begin"], started = time.monotonic() - started, time.monotonic()
    version = store.forked(version)
    forget_arrays()
    jobs = [Index(row, col) for row in range(side) for col in range(side)]
    parts = [changed for k, job in enumerate(jobs) if (changed := put(version, job, shards[k % len(shards)]))]
    if parts:
        store.commit(version, parts)
    took["write"], started = time.monotonic() - started, time.monotonic()
    store.publish(version, KEEP)
    took["publish"] = time.monotonic() - started
    return took


def put(version: Version, job: Index, values: NDArray[np.uint16]) -> bytes:
    """One shard, as a worker writes it; what it has to give back."""
    if not version.fork:
        write_shard(join(version.mosaic, "0"), "sr", Index(0, 0), job, values)
        return b""
    with forked(version.mosaic, version.fork) as (mosaic, changes):
        write_shard(join(mosaic, "0"), "sr", Index(0, 0), job, values)
        return changes()


def fill(store: MosaicStore, size: Size) -> None:
    """A first version of many shards, written by one call: its time is not reported."""
    version = store.begin()
    with store.writing(version) as mosaic:
        group, n = open_group(mosaic, "a").require_group("0"), size.side * size.px
        chunk = (3, size.px, size.px)
        array = create_array(group, "sr", (3, n, n), chunk, chunk, "uint16", 0, ("band", "y", "x"))
        for row in range(size.side):
            array[:, row * size.px : (row + 1) * size.px] = np.tile(pixels(size.px, row), (1, 1, size.side))
    store.publish(version, KEEP)


def read(store: MosaicStore, size: Size) -> float:
    """Seconds to read all of level 0, a shard at a time."""
    whole = Window(0, 0, size.side * size.px, size.side * size.px)
    started = time.monotonic()
    with store.reading() as mosaic:
        for shard in Window(0, 0, size.side, size.side).indices():
            read_window(join(mosaic, "0"), "sr", whole, Window(*shard, shard.row + 1, shard.col + 1).refine(size.px))
    return time.monotonic() - started


Kept = Callable[[], tuple[float, int]]


def on_disk(output: Path) -> tuple[float, int]:
    """(bytes, objects) below a folder; what is linked twice counts once."""
    found = {p.stat().st_ino: p.stat().st_size for p in output.rglob("*") if p.is_file() and not p.is_symlink()}
    return sum(found.values()), len(found)


def on_s3(s3: S3, prefix: str) -> tuple[float, int]:
    """(bytes, objects) below a prefix."""
    pages = s3.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    sizes = [entry["Size"] for page in pages for entry in page.get("Contents", [])]
    return sum(sizes), len(sizes)


def measure_store(output: str, kind: Kind, size: Size, kept: Kept, runs: int) -> tuple[dict[str, float], ...]:
    """Seconds, bytes and objects of a whole version and of the last of `runs` that touch a corner."""
    store = mosaic_store(output, kind)
    full: dict[str, float] = {}
    if size is MANY:
        fill(store, size)
    else:
        full = write(store, size, size.side, 1)
        full["bytes"], full["objects"] = kept()
        full["read"] = read(store, size)
    run: dict[str, float] = {}
    for turn in range(runs):
        before = kept()
        run = write(store, size, size.corner, 100 * (turn + 1))
        if turn == 0:
            added = kept()[0] - before[0], kept()[1] - before[1]
    if runs:
        run["bytes"], run["objects"] = added
    return full, run


def best(measured: list[dict[str, float]]) -> dict[str, float]:
    """The least of each figure."""
    return {name: min(found[name] for found in measured) for name in measured[0]}


def describe(figures: dict[str, float]) -> str:
    """Seconds by part, and what was added."""
    parts = ("begin", "write", "publish", "read")
    seconds = ", ".join(f"{part} {figures[part]:.2f}" for part in parts if part in figures)
    return f"{seconds} s; {figures['bytes'] / MB:.2f} MB and {figures['objects']:.0f} objects added"


def measure() -> Iterator[str]:
    """Lines for RESULTS.md."""
    kinds: tuple[Kind, ...] = ("zarr", "icechunk")
    for size in (LARGE, MANY):
        about = f"{size.side**2} shards of {size.px} px"
        found: dict[Kind, list[tuple[dict[str, float], ...]]] = {kind: [] for kind in kinds}
        for turn in range(ROUNDS):
            for kind in kinds if turn % 2 == 0 else kinds[::-1]:
                with tempfile.TemporaryDirectory() as folder:
                    output = Path(folder) / "out"
                    case = measure_store(str(output), kind, size, lambda output=output: on_disk(output), RUNS)
                    found[kind].append(case)
        for kind in kinds:
            full, run = (best([case[k] for case in found[kind]]) if found[kind][0][k] else {} for k in (0, 1))
            if full:
                yield f"disk, {about}, all of them, {kind}: {describe(full)}"
            yield f"disk, {about}, a run of {size.corner**2}, {kind}: {describe(run)}"
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder) / "log") as s3:
        about = f"{LARGE.side**2} shards of {LARGE.px} px"
        for kind in kinds:
            runs = RUNS if kind == "icechunk" else 0
            prefix = f"versions/{kind}"
            output = f"s3://{BUCKET}/{prefix}"
            full, run = measure_store(output, kind, LARGE, lambda prefix=prefix: on_s3(s3, f"{prefix}/"), runs)
            yield f"S3, {about}, all of them, {kind}: {describe(full)}"
            if run:
                yield f"S3, {about}, a run of {LARGE.corner**2}, {kind}: {describe(run)}"
        yield "S3, runs, zarr: refused, since it is written in place"


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
