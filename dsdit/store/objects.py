"""Objects: small files in a folder or an object store, read, written, listed, removed. The owner of fsspec.

Locations are folders or s3:// URLs; credentials come from the environment alone.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec

from dsdit.errors import StoreError
from dsdit.store.options import storage_settings


def join(url: str, *parts: str) -> str:
    """`url` and parts with single slashes."""
    return "/".join([url.rstrip("/"), *parts])


def is_remote(url: str) -> bool:
    """True for an object store."""
    return "://" in url and not url.startswith("file://")


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """(filesystem, path) of a URL or folder. Raises StoreError for an unknown scheme, and for a URL with a login.

    Listings of an object store are never cached: others write there too.
    """
    if is_remote(url) and ("?" in url or "@" in url.partition("://")[2].partition("/")[0]):
        raise StoreError(
            f"a location on {url.partition('://')[0]} carries a login or query: credentials come from the "
            "environment alone, give the plain address"
        )
    try:
        fs, path = fsspec.core.url_to_fs(url, **client_options(url))
    except (ValueError, ImportError) as error:
        raise StoreError(f"{url!r} cannot be used as a location: {error}") from error
    return fs, str(path)


def client_options(url: str) -> dict[str, Any]:
    """Options of the filesystem of `url` for fsspec: the storage settings of this process, and their own defaults."""
    if not is_remote(url):
        return {}
    settings = storage_settings()
    configured = fsspec.config.conf.get(url.partition("://")[0], {}).get("config_kwargs", {})
    clients = {"max_pool_connections": 64, **configured, **settings.get("config_kwargs", {})}
    return {**settings, "use_listings_cache": False, "config_kwargs": clients}


def check_writable(url: str) -> None:
    """Raises StoreError where nothing can be written below `url`; leaves nothing behind, folders included."""
    probe = join(url, f".probe-{uuid.uuid4().hex}")
    fs, path = filesystem(probe)
    created = [] if is_remote(url) else [folder for folder in Path(path).parents if not folder.exists()]
    try:
        write_bytes(probe, b"")
        fs.rm_file(path)
    except Exception as error:  # OSError, and what clients of object stores raise of their own
        raise StoreError(f"nothing can be written to {url!r} ({error}): choose another output or scratch") from error
    finally:
        for folder in created:
            with suppress(OSError):
                folder.rmdir()


def write_bytes(url: str, content: bytes) -> None:
    """Writes one object: readers see all its content or no object."""
    fs, path = filesystem(url)
    if is_remote(url):
        fs.pipe_file(path, content)
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    partial = f"{path}.{uuid.uuid4().hex}.partial"
    Path(partial).write_bytes(content)
    flush_to_disk(partial)
    Path(partial).replace(path)


def flush_to_disk(path: str) -> None:
    """Flushes a file to the disk (fsync): after a power failure nothing written later exists without it."""
    with suppress(FileNotFoundError), Path(path).open("rb") as file:  # Zarr writes no object for a shard of fill alone
        os.fsync(file.fileno())


def write_file(url: str, path: Path) -> None:
    """Copies a file to `url`: readers see all its content or no object."""
    fs, place = filesystem(url)
    if is_remote(url):
        fs.put_file(str(path), place)
        return
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    partial = f"{place}.{uuid.uuid4().hex}.partial"
    fs.put_file(str(path), partial)
    Path(partial).replace(place)


def read_bytes(url: str) -> bytes | None:
    """Content of one object; None where it does not exist."""
    fs, path = filesystem(url)
    try:
        content: bytes = fs.cat_file(path)
    except FileNotFoundError:
        return None
    return content


def list_names(url: str) -> list[str]:
    """Sorted names directly below `url`; empty where it does not exist."""
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
    """Removes one object without looking for it first; silent where it does not exist."""
    fs, path = filesystem(url)
    with suppress(FileNotFoundError):
        fs.rm_file(path)


def remove(url: str) -> None:
    """Removes one object, or a folder with all its content; silent where it does not exist."""
    fs, path = filesystem(url)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def write_json(url: str, record: Any) -> None:
    """JSON of a record, as one object."""
    write_bytes(url, json.dumps(record, indent=1, sort_keys=True, allow_nan=False).encode())


def read_json(url: str) -> Any:
    """Record of a JSON object; None where it does not exist. Raises StoreError where it is damaged."""
    content = read_bytes(url)
    if content is None:
        return None
    try:
        return json.loads(content)
    except ValueError as error:
        raise StoreError(f"{url} is damaged: {error}") from error
