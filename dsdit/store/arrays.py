"""Groups of sharded Zarr arrays: created, written a shard at a time, read by windows. The owner of zarr.

One task writes one whole shard of each of its arrays, so that no two tasks ever write the same object.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.core.sync import sync

from dsdit.errors import StoreError
from dsdit.lattice.tiling import Lattice
from dsdit.store.array_spec import ArraySpec, chunk_key
from dsdit.store.mounts import find_mount
from dsdit.store.objects import client_options, filesystem, flush_to_disk, is_remote, join
from dsdit.window import Index, Window

_COMPRESSOR = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")


def open_group(url: str, mode: str = "r+") -> zarr.Group:
    """A Zarr v3 group. Raises StoreError where there is none."""
    found = find_mount(url)
    place = {"store": url.removeprefix("file://"), "storage_options": client_options(url) or None}
    if found is not None:
        place, mode = {"store": found[0], "path": found[1]}, "r" if found[0].read_only else mode
    try:
        return zarr.open_group(**place, mode=mode, zarr_format=3)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise StoreError(f"there is no Zarr group at {url}") from error


def create_array(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None,
    dtype: str,
    fill: Any,
    dims: tuple[str, ...],
    attributes: dict[str, Any] | None = None,
) -> zarr.Array[Any]:
    """An array of the group; an existing one is used if its shape and chunks agree, else StoreError is raised."""
    if name in group:
        array = group[name]
        if not isinstance(array, zarr.Array) or array.shape != shape or array.shards != shard or array.chunks != chunk:
            raise StoreError(
                f"{group.store_path}/{name} has another shape or sharding than this run needs ({shape}, {shard}): "
                "choose another output, or remove this one"
            )
        return array
    return group.create_array(
        name,
        shape=shape,
        chunks=chunk,
        shards=shard,
        dtype=dtype,
        fill_value=fill,
        dimension_names=dims,
        compressors=_COMPRESSOR,
        attributes=attributes or {},
    )


def create_spec(
    group: zarr.Group, spec: ArraySpec, lattice: Lattice, bands: int, jobs: tuple[int, int]
) -> zarr.Array[Any]:
    """The array of `spec` over (rows, columns) of jobs, in its group; see `create_array`."""
    return create_array(
        group,
        spec.name,
        spec.array_shape(lattice, bands, jobs),
        spec.chunk_shape(lattice, bands),
        spec.shard_shape(lattice, bands),
        spec.dtype,
        spec.fill,
        spec.dims,
        dict(spec.attributes),
    )


_RUN: ContextVar[str] = ContextVar("run", default="")


@contextmanager
def arrays_of(run: str) -> Iterator[None]:
    """Arrays that the block opens stay cached for `run` alone: a later run may have others at the same location."""
    token = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(token)


def _array(url: str, name: str) -> zarr.Array[Any]:
    return _opened(url, name, _RUN.get())


@lru_cache(maxsize=64)
def _opened(url: str, name: str, _: str) -> zarr.Array[Any]:
    array = open_group(url, "r+")[name]
    assert isinstance(array, zarr.Array)
    return array


def forget_arrays() -> None:
    """Drops the cached arrays of this process, after a store was created again at the same location."""
    _opened.cache_clear()


def _check_shape(url: str, name: str, have: tuple[int, ...], needed: tuple[int, ...]) -> None:
    if have != needed:
        raise StoreError(
            f"{url}/{name} has {have} where this run expects {needed}: it was created again, or for another region; "
            "run the command again, or choose another output"
        )


def array_shape(url: str, name: str) -> tuple[int, ...]:
    """Shape of an array. Raises StoreError where there is no group."""
    return _array(url, name).shape


def write_shard(
    url: str, name: str, origin: Index, job: Index, values: NDArray[Any], job_axes: tuple[int, int] = (-2, -1)
) -> None:
    """Writes the whole shard of `job` of an array whose first job is `origin`. `values` has the shard's shape.

    `job_axes` are those along which jobs follow each other; see `ArraySpec`. Raises StoreError for a job beyond the
    array.
    """
    array = _array(url, name)
    shard = array.shards or array.chunks
    if values.shape != shard:
        raise StoreError(f"{name} of job {job}: {values.shape} values for a shard of {shard}")
    place = [slice(None)] * values.ndim
    for axis, step in zip(job_axes, (job.row - origin.row, job.col - origin.col), strict=True):
        if not 0 <= step * shard[axis] < array.shape[axis]:
            raise StoreError(
                f"{url}/{name} ends before job {tuple(job)} (it has {array.shape}): it was created for another region; "
                "run the command again, or choose another output"
            )
        place[axis] = slice(step * shard[axis], (step + 1) * shard[axis])
    array[tuple(place)] = values
    if not is_remote(url):
        flush_to_disk(join(filesystem(url)[1], name, chunk_key(array.ndim, job_axes, origin, job)))


def read_window(url: str, name: str, first: Window, window: Window) -> NDArray[Any]:
    """Pixels of `window` from an array on `first`; fill outside it. Raises StoreError where it has another shape."""
    array = _array(url, name)
    _check_shape(url, name, array.shape[-2:], first.shape)
    have = window.intersect(first)
    lead = array.shape[:-2]
    out = np.full((*lead, *window.shape), array.fill_value, array.dtype)
    if not have.empty:
        out[(..., *have.within(window))] = array[(..., *have.within(first))]
    return out


def stored_shards(url: str, name: str, job_axes: tuple[int, int] = (-2, -1)) -> set[Index]:
    """(row, column) of each shard that has an object, counted from the array's first one, from a listing alone."""
    array = _array(url, name)
    prefix = f"{array.path}/"  # Icechunk lists arrays and groups only, no part of one

    async def listed() -> set[Index]:
        found = set()
        async for key in array.store.list_prefix(prefix):
            kind, *numbers = key.removeprefix(prefix).split("/")
            if kind == "c" and all(number.isdigit() for number in numbers):  # not of a partial file
                found.add(Index(*(int(numbers[axis]) for axis in job_axes)))
        return found

    return sync(listed())


def read_block(url: str, name: str, first: Window, window: Window) -> NDArray[Any]:
    """Entries of `window` of the tile lattice from `tiles` or `weighting` on `first`. Raises StoreError."""
    array = _array(url, name)
    _check_shape(url, name, array.shape[:2], first.shape)
    if window != window.intersect(first):
        raise StoreError(f"{url}/{name}: {window} is beyond {first}, for which it was created")
    return np.asarray(array[window.within(first)])
