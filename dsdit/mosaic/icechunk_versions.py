"""Versions of a mosaic in an Icechunk repository, on a local disk or S3. The owner of icechunk.

Readers see branch `main`. A run writes to its own branch `night-<n>`, which starts at main, so that shards it does not
write are shared. Publishing creates a branch `version-<n>` at the run's snapshot, tags it with the version's number,
moves main there in one step and deletes the run's branch. Where both branches exist, a publish was interrupted, and the
next run finishes it. A reader stays on the snapshot that it opened while its version is kept.

The branch is needed beside the tag: icechunk (1.1) leaves a tag whose file it could not read out of its list, and its
garbage collection takes that list for complete; branches are listed from their names alone.

Workers get pickled forks of one session; their changes are returned, merged and committed. Every commit checks the
snapshot that this run left, so that a run that was presumed dead cannot write beside its successor.

The files beside the mosaic are in `versions/<n>/`. On a disk readers find them by links through `current`, on S3 as
copies.
"""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import icechunk
from icechunk.session import ForkSession

from dsdit.errors import StoreError
from dsdit.mosaic.folder_versions import FOLDER, READER_FILES, not_kept, point_to, publish_version
from dsdit.mosaic.repository_files import check_format, check_half_created
from dsdit.mosaic.version import REPOSITORY, Version
from dsdit.store.mounts import mounted
from dsdit.store.objects import filesystem, is_remote, join, list_names, remove, remove_object
from dsdit.store.options import storage_settings

UNPUBLISHED, PUBLISHED = "night-", "version-"
"""Prefixes of the branches of versions; a number follows."""
T = TypeVar("T")
_BROKEN, _TRIES = ("error streaming bytes", "error reading a body"), 4
"""Icechunk's messages for an interrupted response, which it does not retry; how often this module tries."""
_SPLIT = 64
"""Shards a side that share one list of chunks: a commit writes the lists that it touches."""

_FORMAT = int(icechunk.__version__.partition(".")[0])
"""Newest format of repositories that the installed icechunk reads: the number of its major version."""

icechunk.set_logs_filter("error")  # it warns that commits to files are unsafe: the lease of the output makes them safe


class IcechunkStore:
    """The repository of one output. `holds` raises StoreError where something else is stored in its place."""

    name = REPOSITORY

    def __init__(self, output: str) -> None:
        self.output = output
        self.mosaic = join(output, REPOSITORY)
        self._tip = ""

    @cached_property
    def _repository(self) -> icechunk.Repository:
        return self._retry(lambda: icechunk.Repository.open(_storage(self.mosaic)))

    def holds(self) -> bool:
        names = list_names(self.mosaic)
        if not names:
            return False
        check_format(self.mosaic, names, _FORMAT)
        if self._retry(lambda: icechunk.Repository.exists(_storage(self.mosaic))):
            return True
        check_half_created(self.mosaic, names)
        return False

    def versions(self) -> list[int]:
        return self._numbers(PUBLISHED) if self.holds() else []

    def mend(self) -> str:
        """Versions themselves are branches, to which nothing outside the repository leads."""
        published = self.versions()
        if is_remote(self.output) or not published:
            return ""
        return point_to(self.output, published[-1])

    def unpublished(self) -> Version | None:
        if not self.holds():
            return None
        number = max(self._numbers(UNPUBLISHED), default=0)
        if number in self._numbers(PUBLISHED):
            self._finish(number)
            return None
        return self._version(number) if number else None

    def begin(self) -> Version:
        begun = self.unpublished()
        if begun is not None:
            return begun
        if not self.holds():
            remove(self.mosaic)  # at most what a run that was killed while it created one has left; see `holds`
            self._do(lambda: icechunk.Repository.create(_storage(self.mosaic), _config()), self.holds)
        number = max(self._numbers(PUBLISHED), default=0) + 1
        self._begin_branch(f"{UNPUBLISHED}{number}", self._branch("main"))
        return self._version(number)

    @contextmanager
    def writing(self, version: Version) -> Iterator[str]:
        session = self._session(version)
        with mounted(self.mosaic, session.store) as place:
            yield place
        self._commit(version, session, "written by the flow")

    def forked(self, version: Version) -> Version:
        return version._replace(fork=pickle.dumps(self._session(version).fork()))

    def commit(self, version: Version, changes: Sequence[bytes]) -> None:
        session = self._session(version)
        with store_errors(self.mosaic):
            session.merge(*(_load(part) for part in changes))
        self._commit(version, session, f"{len(changes)} shards")

    def put_back(self, version: Version, names: Iterable[str]) -> None:
        """Nothing to restore: the fork of a failed job was never committed."""

    def publish(self, version: Version, keep: int) -> None:
        self._begin_branch(f"{PUBLISHED}{version.name}", self._session(version).snapshot_id)
        self._finish(int(version.name))
        self._forget(keep)

    @contextmanager
    def reading(self, version: int | None = None) -> Iterator[str]:
        with mounted(self.mosaic, self.opened(version)) as place:
            yield place

    def opened(self, version: int | None = None) -> icechunk.IcechunkStore:
        kept = self.versions()
        if not kept or version not in (None, *kept):
            raise not_kept(self.output, version, kept)
        branch = "main" if version is None else f"{PUBLISHED}{version}"
        session = self._retry(lambda: self._repository.readonly_session(branch))
        return session.store

    def _version(self, number: int) -> Version:
        return Version(str(number), join(self.output, FOLDER, str(number)), self.mosaic)

    def _retry(self, call: Callable[[], T]) -> T:
        """What `call` returns, retried where the response was interrupted. Raises StoreError."""
        with store_errors(self.mosaic):
            for _ in range(_TRIES - 1):
                try:
                    return call()
                except icechunk.IcechunkError as error:
                    if not any(message in str(error) for message in _BROKEN):
                        raise
            return call()

    def _do(self, act: Callable[[], object], done: Callable[[], bool]) -> None:
        """Calls `act`, which succeeds only once; `done` is whether it has, though its response was lost.

        Raises StoreError.
        """

        def once() -> object:
            try:
                return act()
            except (icechunk.IcechunkError, icechunk.ConflictError):
                if done():
                    return None
                raise

        self._retry(once)

    def _numbers(self, kind: str) -> list[int]:
        """Numbers of the versions that have a branch of this kind."""
        branches = self._retry(self._repository.list_branches)
        return sorted(int(branch.removeprefix(kind)) for branch in branches if branch.startswith(kind))

    def _branch(self, name: str) -> str:
        """Snapshot at the tip of a branch; empty where there is no such branch."""
        known = name in self._retry(self._repository.list_branches)
        return self._retry(lambda: self._repository.lookup_branch(name)) if known else ""

    def _begin_branch(self, name: str, snapshot: str) -> None:
        self._do(lambda: self._repository.create_branch(name, snapshot), lambda: self._branch(name) == snapshot)

    def _end_branch(self, name: str) -> None:
        self._do(lambda: self._repository.delete_branch(name), lambda: not self._branch(name))

    def _session(self, version: Version) -> icechunk.Session:
        """A session on the branch as this run left it. Raises StoreError where another run has written there."""
        session = self._retry(lambda: self._repository.writable_session(f"{UNPUBLISHED}{version.name}"))
        if self._tip not in ("", session.snapshot_id):
            raise StoreError(_TAKEN.format(self.mosaic))
        self._tip = session.snapshot_id
        return session

    def _commit(self, version: Version, session: icechunk.Session, message: str) -> None:
        if not session.has_uncommitted_changes:
            return
        mark = {"commit": uuid.uuid4().hex}

        def done() -> bool:
            tip = self._branch(f"{UNPUBLISHED}{version.name}")
            return bool(tip) and self._retry(lambda: self._repository.lookup_snapshot(tip)).metadata == mark

        self._do(lambda: session.commit(message, mark), done)
        self._tip = self._branch(f"{UNPUBLISHED}{version.name}")

    def _finish(self, number: int) -> None:
        """Publishes a version that has its branch: tag, main, files beside it, end of the run's branch. Repeatable."""
        repository, name, folder = self._repository, str(number), join(self.output, FOLDER, str(number))
        main, tip = self._branch("main"), self._branch(f"{PUBLISHED}{number}")
        self._do(lambda: repository.create_tag(name, tip), lambda: repository.lookup_tag(name) == tip)
        self._do(
            lambda: repository.reset_branch("main", tip, from_snapshot_id=main), lambda: self._branch("main") == tip
        )
        if is_remote(self.output):
            fs = filesystem(self.output)[0]
            written = set(list_names(folder))
            for name in set(READER_FILES) & written:
                fs.copy(filesystem(join(folder, name))[1], filesystem(join(self.output, name))[1])
            for name in set(READER_FILES) - written:
                remove_object(join(self.output, name))
        else:
            Path(filesystem(folder)[1]).mkdir(parents=True, exist_ok=True)
            publish_version(self.output, folder, keep=number)
        self._end_branch(f"{UNPUBLISHED}{number}")
        self._tip = ""

    def _forget(self, keep: int) -> None:
        """Deletes all versions but the newest `keep`, and what no branch needs."""
        now, repository = datetime.now(UTC), self._repository
        for number in self._numbers(PUBLISHED)[:-keep]:
            tag = str(number)
            self._do(partial(repository.delete_tag, tag), lambda tag=tag: tag not in repository.list_tags())  # type: ignore[misc]
            self._end_branch(f"{PUBLISHED}{number}")
            remove(join(self.output, FOLDER, tag))
        self._retry(lambda: repository.expire_snapshots(now))
        self._retry(lambda: repository.garbage_collect(now))


_TAKEN = "{} was written to by another run: this run stops; the same command goes on"


@contextmanager
def forked(url: str, fork: bytes) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """On a worker: (location to write to, function that returns the changes), of a fork of the run's session."""
    session = _load(fork)
    with mounted(url, session.store) as place:
        yield place, lambda: pickle.dumps(session)


def _load(fork: bytes) -> ForkSession:
    session = pickle.loads(fork)  # noqa: S301 - it comes from this run's own scheduler, which pickles all it sends
    assert isinstance(session, ForkSession)
    return session


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Raises icechunk's errors as StoreError, in one line."""
    try:
        yield
    except icechunk.ConflictError as error:
        raise StoreError(_TAKEN.format(url)) from error
    except icechunk.IcechunkError as error:
        reason = str(error).strip().splitlines()[0].lstrip("x ")
        raise StoreError(f"{url} cannot be used: {reason}") from error


def _config() -> icechunk.RepositoryConfig:
    sizes: Any = {icechunk.ManifestSplitDimCondition.DimensionName("^[xy]$"): _SPLIT}
    splitting = icechunk.ManifestSplittingConfig.from_dict({icechunk.ManifestSplitCondition.AnyArray(): sizes})
    config = icechunk.RepositoryConfig.default()
    config.manifest = icechunk.ManifestConfig(splitting=splitting)
    return config


def _storage(url: str) -> icechunk.Storage:
    """Of a folder or an s3:// location; endpoint, region and credentials come from the environment."""
    if not is_remote(url):
        return icechunk.local_filesystem_storage(filesystem(url)[1])
    parts = urlsplit(url)
    if parts.scheme != "s3":
        raise StoreError(f"{url!r}: an Icechunk mosaic is stored in a folder or on s3://: give one, or set store: zarr")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return icechunk.s3_storage(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        endpoint_url=endpoint,
        allow_http=bool(endpoint and endpoint.startswith("http://")),
        force_path_style=bool(endpoint),
        from_env=True,
        requester_pays=bool(storage_settings().get("requester_pays")),
    )
