"""What is on disk: groups of sharded arrays, and small files beside them. The owner of zarr and fsspec.

One task writes one whole shard of each array it owns, so that no two tasks ever touch the same object. Locations are
folders or s3:// URLs; credentials come from the environment alone.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from dsdit.errors import StoreError
from dsdit.mounts import find_mount
from dsdit.storage_settings import storage_settings
from dsdit.window import Index, Window

_COMPRESSOR = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")


def join(url: str, *parts: str) -> str:
    """`url` and parts with single slashes."""
    return "/".join([url.rstrip("/"), *parts])


def is_remote(url: str) -> bool:
    """True for an object store."""
    return "://" in url and not url.startswith("file://")


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """(filesystem, path) of a URL or folder. Raises StoreError for an unknown scheme, and for a URL with a login.

    Listings of an object store are never kept: others write there too.
    """
    if is_remote(url) and ("?" in url or "@" in url.partition("://")[2].partition("/")[0]):
        raise StoreError(
            f"a location on {url.partition('://')[0]} carries a login or query: credentials come from the "
            "environment alone, give the plain address"
        )
    try:
        return fsspec.core.url_to_fs(url, **_options(url))
    except (ValueError, ImportError) as error:
        raise StoreError(f"{url!r} cannot be used as a location: {error}") from error


def _options(url: str) -> dict[str, Any]:
    if not is_remote(url):
        return {}
    settings = storage_settings()
    told = fsspec.config.conf.get(url.partition("://")[0], {}).get("config_kwargs", {})
    clients = {"max_pool_connections": 64, **told, **settings.get("config_kwargs", {})}
    return {**settings, "use_listings_cache": False, "config_kwargs": clients}


def check_writable(url: str) -> None:
    """Raises StoreError where nothing can be written below `url`; leaves nothing behind, folders included."""
    probe = join(url, f".probe-{uuid.uuid4().hex}")
    fs, path = filesystem(probe)
    made = [] if is_remote(url) else [folder for folder in Path(path).parents if not folder.exists()]
    try:
        write_bytes(probe, b"")
        fs.rm_file(path)
    except Exception as error:  # OSError, and what clients of object stores raise of their own
        raise StoreError(f"nothing can be written to {url!r} ({error}): choose another output or scratch") from error
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def write_bytes(url: str, content: bytes) -> None:
    """Writes one whole object: it is there with all its content, or not at all."""
    fs, path = filesystem(url)
    if is_remote(url):
        fs.pipe_file(path, content)
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    partial = f"{path}.{uuid.uuid4().hex}.partial"
    Path(partial).write_bytes(content)
    _settle(partial)
    Path(partial).replace(path)


def _settle(path: str) -> None:
    """Has a file's content on the disk itself, so that nothing that is written later outlives it when power fails."""
    with suppress(FileNotFoundError), Path(path).open("rb") as file:  # Zarr writes no object for a shard of fill alone
        os.fsync(file.fileno())


def write_file(url: str, path: Path) -> None:
    """Copies a file to `url`: it is there with all its content, or not at all."""
    fs, place = filesystem(url)
    if is_remote(url):
        fs.put_file(str(path), place)
        return
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    partial = f"{place}.{uuid.uuid4().hex}.partial"
    fs.put_file(str(path), partial)
    Path(partial).replace(place)


def read_bytes(url: str) -> bytes | None:
    """Content of one object; None where it is not there."""
    fs, path = filesystem(url)
    try:
        return fs.cat_file(path)
    except FileNotFoundError:
        return None


def list_names(url: str) -> list[str]:
    """Sorted names directly below `url`; empty where it is not there."""
    fs, path = filesystem(url)
    with suppress(FileNotFoundError):
        return sorted(entry.rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False))
    return []


def modified_at(url: str) -> datetime:
    """When an object was last written. Raises FileNotFoundError."""
    fs, path = filesystem(url)
    when = fs.modified(path)
    assert isinstance(when, datetime)
    return when


def remove_object(url: str) -> None:
    """Removes one object, without asking for it first; silent where it is not there."""
    fs, path = filesystem(url)
    with suppress(FileNotFoundError):
        fs.rm_file(path)


def remove(url: str) -> None:
    """Removes one object, or a folder with all that is in it; silent where it is not there."""
    fs, path = filesystem(url)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def write_json(url: str, record: Any) -> None:
    """JSON of a record, as one object."""
    write_bytes(url, json.dumps(record, indent=1, sort_keys=True, allow_nan=False).encode())


def read_json(url: str) -> Any:
    """Record of a JSON object; None where it is not there. Raises StoreError where it is damaged."""
    content = read_bytes(url)
    if content is None:
        return None
    try:
        return json.loads(content)
    except ValueError as error:
        raise StoreError(f"{url} is damaged: {error}") from error


def open_group(url: str, mode: str = "r+") -> zarr.Group:
    """A Zarr v3 group. Raises StoreError where there is none."""
    found = find_mount(url)
    place = {"store": url.removeprefix("file://"), "storage_options": _options(url) or None}
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
) -> zarr.Array:
    """An array of the group; one that is already there is kept if it is alike, and refused otherwise."""
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


_RUN: ContextVar[str] = ContextVar("run", default="")


@contextmanager
def arrays_of(run: str) -> Iterator[None]:
    """Arrays that the block opens are kept open for `run` alone: a later run may find others at the same place."""
    token = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(token)


def _array(url: str, name: str) -> zarr.Array:
    return _opened(url, name, _RUN.get())


@lru_cache(maxsize=64)
def _opened(url: str, name: str, _: str) -> zarr.Array:
    array = open_group(url, "r+")[name]
    assert isinstance(array, zarr.Array)
    return array


def forget_arrays() -> None:
    """Drops open arrays of this process, after a store has been made anew at the same place."""
    _opened.cache_clear()


def _check_shape(url: str, name: str, have: tuple[int, ...], needed: tuple[int, ...]) -> None:
    if have != needed:
        raise StoreError(
            f"{url}/{name} has {have} where this run counts on {needed}: it was made anew or for another region; run "
            "the command again, or choose another output"
        )


def write_shard(url: str, name: str, origin: Index, job: Index, values: NDArray[Any]) -> None:
    """Writes the whole shard of `job` of an array whose first job is `origin`. `values` has the shard's shape."""
    array = _array(url, name)
    shard = array.shards or array.chunks
    if values.shape != shard:
        raise StoreError(f"{name} of job {job}: {values.shape} values for a shard of {shard}")
    lead = 0 if name in ("tiles", "weighting") else values.ndim - 2
    place = [slice(None)] * values.ndim
    for axis, step in ((lead, job.row - origin.row), (lead + 1, job.col - origin.col)):
        if not 0 <= step * shard[axis] < array.shape[axis]:
            raise StoreError(
                f"{url}/{name} ends before job {tuple(job)} (it has {array.shape}): it was made for another region; "
                "run the command again, or choose another output"
            )
        place[axis] = slice(step * shard[axis], (step + 1) * shard[axis])
    array[tuple(place)] = values
    if not is_remote(url):
        _settle(join(filesystem(url)[1], shard_object(url, name, origin, job)))


def shard_object(url: str, name: str, origin: Index, job: Index) -> str:
    """Name below the group at `url` of the object of one shard."""
    axes = _array(url, name).ndim
    index, lead = [0] * axes, 0 if name in ("tiles", "weighting") else axes - 2
    index[lead : lead + 2] = job.row - origin.row, job.col - origin.col
    return join(name, "c", *map(str, index))


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


def read_block(url: str, name: str, first: Window, window: Window) -> NDArray[Any]:
    """Entries of `window` of the tile lattice from `tiles` or `weighting` on `first`. Raises StoreError."""
    array = _array(url, name)
    _check_shape(url, name, array.shape[:2], first.shape)
    if window != window.intersect(first):
        raise StoreError(f"{url}/{name}: {window} lies beyond {first}, on which it was made")
    return np.asarray(array[window.within(first)])
