"""`MosaicStore`: the versions of a mosaic behind one interface, in folders of plain Zarr or an Icechunk repository.

A version is begun, written by workers, finished and published; readers open a published one. Plain Zarr is written in
place: a worker gets a location. In a repository a worker gets a fork of the run's session and returns its changes,
which readers see after the commit and the publish.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from dsdit.errors import StoreError
from dsdit.mosaic.folder_versions import (
    MOSAIC,
    holds_mosaic,
    mend_links,
    open_version,
    publish_version,
    published_mosaic,
    published_versions,
    put_back,
    unpublished,
)
from dsdit.mosaic.version import REPOSITORY, Kind, Version
from dsdit.store.objects import is_remote, join, list_names


class MosaicStore(Protocol):
    """The versions of one output's mosaic."""

    name: str
    """Name below the output of what readers open."""
    output: str

    def holds(self) -> bool:
        """Whether a mosaic exists, published or not, to which receipts can belong."""

    def versions(self) -> list[int]:
        """Numbers of the published versions that are kept, oldest first."""

    def mend(self) -> str:
        """Restores what leads readers to the published version; returns what was wrong, empty where nothing was."""

    def unpublished(self) -> Version | None:
        """The version that was begun and is not published. A publish that was interrupted is finished first."""

    def begin(self) -> Version:
        """The unpublished version, or a new one that starts as a copy of the published one."""

    def writing(self, version: Version) -> AbstractContextManager[str]:
        """Location at which this process writes to the mosaic; its changes are kept at the end of the block."""

    def forked(self, version: Version) -> Version:
        """The version with its fork, for workers."""

    def commit(self, version: Version, changes: Sequence[bytes]) -> None:
        """Commits what workers changed in their forks, all of it or nothing."""

    def put_back(self, version: Version, names: Iterable[str]) -> None:
        """Restores objects to their published state, where a worker that wrote in place left a shard incomplete."""

    def publish(self, version: Version, keep: int) -> None:
        """Makes the version the one that readers see; `keep` versions are kept, this one included."""

    def reading(self, version: int | None = None) -> AbstractContextManager[str]:
        """Location of a published version, the newest by default, for `dsdit.store.arrays`. Raises StoreError."""

    def opened(self, version: int | None = None) -> Any:
        """A published version for Zarr itself: a location or a store. Raises StoreError."""


class ZarrStore:
    """Plain Zarr: a version is a folder that shares unchanged shards by hard links (folder_versions.py)."""

    name = MOSAIC

    def __init__(self, output: str) -> None:
        self.output = output

    def holds(self) -> bool:
        return holds_mosaic(self.output)

    def versions(self) -> list[int]:
        return published_versions(self.output)

    def mend(self) -> str:
        return mend_links(self.output)

    def unpublished(self) -> Version | None:
        self.mend()
        folder = unpublished(self.output)
        return None if folder is None else _in_folder(folder)

    def begin(self) -> Version:
        return _in_folder(open_version(self.output))

    @contextmanager
    def writing(self, version: Version) -> Iterator[str]:
        yield version.mosaic

    def forked(self, version: Version) -> Version:
        return version

    def commit(self, version: Version, changes: Sequence[bytes]) -> None:
        """Nothing to commit: a worker wrote in place."""

    def put_back(self, version: Version, names: Iterable[str]) -> None:
        put_back(self.output, version.folder, names)

    def publish(self, version: Version, keep: int) -> None:
        publish_version(self.output, version.folder, keep)

    @contextmanager
    def reading(self, version: int | None = None) -> Iterator[str]:
        yield self.opened(version)

    def opened(self, version: int | None = None) -> str:
        if version is None and not self.versions():  # written in place
            return join(self.output, MOSAIC)
        return published_mosaic(self.output, version)


def _in_folder(folder: str) -> Version:
    return Version("in place" if is_remote(folder) else folder.rpartition("/")[2], folder, join(folder, MOSAIC))


def mosaic_store(output: str, kind: Kind | None = None) -> MosaicStore:
    """The store of an output: of `kind`, or of the kind that exists.

    Raises StoreError where the two differ, or where an existing repository cannot be used.
    """
    found: Kind | None = (
        "icechunk" if list_names(join(output, REPOSITORY)) else "zarr" if holds_mosaic(output) else None
    )
    if None not in (kind, found) and kind != found:
        raise StoreError(
            f"output {output!r} holds a mosaic of store {found!r}, and store {kind!r} was requested: "
            f"set store: {found}, or choose another output"
        )
    if (kind or found) != "icechunk":
        return ZarrStore(output)
    from dsdit.mosaic.icechunk_versions import IcechunkStore

    store = IcechunkStore(output)
    store.holds()
    return store
