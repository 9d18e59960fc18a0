"""A lease on an output, so that two runs never write to it: `lease.json`, taken and renewed by compare-and-swap.

On a disk the swap is a rewrite under the file's lock, on S3 a conditional put. The holder keeps raising a counter. A
run that finds the lease taken watches the counter by its own clock: if it does not change for `expire_s`, the holder
is dead, whatever the machines' dates are. A holder that could not renew in time considers its lease lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsdit.errors import LeaseError, StoreError
from dsdit.store.objects import filesystem, is_remote, join

NAME = "lease.json"
EXPIRE_S = 45.0
"""Time without a change of the counter after which its holder is considered dead."""
RENEWALS = 5
"""Renewals within that time."""
LOST = 0.8
"""Share of that time without a renewal after which a holder stops: before any other run can have taken the lease."""
_LONGEST_S = 60.0
_GONE_BY = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404", "409", "412")
"""S3's error codes for a conditional put whose condition does not hold."""

_LOST_MESSAGE = "the lease {} is lost ({}): this run stops; the same command goes on"
Notify = Callable[[str], None]
Check = Callable[[], None]
"""Called before something is written: raises LeaseError where nothing may be."""


def unchecked() -> None:
    """The check of a step for which no run holds a lease."""


@dataclass(frozen=True)
class LeaseRecord:
    """Content of `lease.json`."""

    tag: str | None
    """Tag of this content, for the swap; None where there is no content."""
    holder: str = ""
    """Id of the run that holds it; empty where no run does."""
    description: str = ""
    """Description of the run, for people."""
    renewed: int = 0
    """Counter of renewals."""
    expire_s: float = EXPIRE_S


class Lease:
    """The lease of this run: taken by `take`, renewed by a thread of its own until `release`."""

    def __init__(self, output: str, description: str, expire_s: float = EXPIRE_S) -> None:
        self.url = join(output, NAME)
        self.description = description
        self.expire_s = expire_s
        self.holder = uuid.uuid4().hex
        self._count = 0
        self._renewed_at = _awake()
        self._lost = ""
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, wait: bool = False, notify: Notify = lambda _: None) -> None:
        """Takes the lease. One that is held is waited for, or refused with a LeaseError that names its run."""
        watched, since, notified = LeaseRecord(None), time.monotonic(), ""
        while True:
            found = read(self.url)
            if found.tag is None or not found.holder:
                if self._swap(found.tag):
                    break
                continue
            if (found.holder, found.renewed) != (watched.holder, watched.renewed):
                if not wait and found.holder == watched.holder:
                    raise LeaseError(
                        f"{self.url} is held by {found.description}: wait for its end, or set on_conflict: wait"
                    )
                watched, since = found, time.monotonic()
                if notified != found.holder:
                    notify(f"lease: {found.description} holds {self.url}; watching whether it is alive")
                    notified = found.holder
            elif time.monotonic() - since >= found.expire_s:
                notify(f"lease: {found.description} is dead: its lease is taken over")
                if self._swap(found.tag):
                    break
            time.sleep(min(found.expire_s / (2 * RENEWALS), 1.0))
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LeaseError where the lease is no longer ours: nothing more may be written."""
        if not self._lost and _awake() - self._renewed_at > LOST * self.expire_s:
            self._lost = f"it could not be renewed for {LOST * self.expire_s:.0f} s"
        if self._lost:
            raise LeaseError(_LOST_MESSAGE.format(self.url, self._lost))

    def release(self) -> None:
        """Gives the lease back, if it is still ours."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        found = read(self.url)
        if found.holder == self.holder:
            _swap(self.url, found.tag, _record("", "", self._count + 1, self.expire_s))

    def _renew(self) -> None:
        while not self._end.wait(self.expire_s / RENEWALS) and not self._lost:
            with suppress(Exception):  # a store that does not respond: retried until `check` finds the lease lost
                found = read(self.url)
                if found.holder != self.holder:
                    self._lost = _taken(found)
                else:
                    self._swap(found.tag)

    def _swap(self, tag: str | None) -> bool:
        started = _awake()
        record = _record(self.holder, self.description, self._count + 1, self.expire_s)
        done = _swap(self.url, tag, record)
        if not done:  # a swap whose response was lost may have succeeded
            found = read(self.url)
            done = (found.holder, found.renewed) == (self.holder, self._count + 1)
        if done:
            self._count, self._renewed_at = self._count + 1, started
        return done


@contextmanager
def held(
    output: str, description: str, expire_s: float = EXPIRE_S, wait: bool = False, notify: Notify = lambda _: None
) -> Iterator[Lease]:
    """The lease of `output` while the block runs; given back at its end, however it ends. Raises LeaseError."""
    lease = Lease(output, description, expire_s)
    lease.take(wait, notify)
    try:
        yield lease
    finally:
        with suppress(Exception):  # it expires by itself
            lease.release()


def check_holder(url: str, holder: str) -> None:
    """Raises LeaseError unless `holder` holds the lease at `url`: a step that outlives its run must write nothing.

    A worker calls it just before it writes. A race remains between this check and the write: it takes a worker that
    was stopped for `expire_s` at that very point.
    """
    found = read(url)
    if found.holder != holder:
        raise LeaseError(_LOST_MESSAGE.format(url, _taken(found)))


def _taken(found: LeaseRecord) -> str:
    return f"{found.description} has taken it" if found.holder else "it was taken away"


def read(url: str) -> LeaseRecord:
    """The lease at `url`. One that cannot be parsed counts as held by an unknown run until it expires."""
    tag, content = _read_remote(url) if is_remote(url) else _read_file(url)
    if not content:
        return LeaseRecord(tag)
    try:
        record = json.loads(content)
        return LeaseRecord(
            tag,
            str(record["holder"])[:64],
            " ".join(str(record["words"]).split())[:300],
            int(record["renewed"]),
            min(max(float(record["expire_s"]), 0.1), _LONGEST_S),
        )
    except (ValueError, TypeError, KeyError):
        return LeaseRecord(tag, f"damaged {tag}", "a run whose lease cannot be read")


def _awake() -> float:
    """A clock for holders, in seconds: unlike the monotonic one it goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _record(holder: str, description: str, renewed: int, expire_s: float) -> bytes:
    record = {"holder": holder, "words": description, "renewed": renewed, "expire_s": expire_s}
    return json.dumps(record, sort_keys=True).encode()


def _swap(url: str, tag: str | None, content: bytes) -> bool:
    """Writes `content` if the current content still has this tag; False where it has not. Raises StoreError."""
    return _swap_remote(url, tag, content) if is_remote(url) else _swap_file(url, tag, content)


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _path(url: str) -> Path:
    return Path(filesystem(url)[1])


@contextmanager
def _locked(path: Path, how: int, flags: int) -> Iterator[int]:
    """A descriptor of the file under its lock, which ends with the process. Raises StoreError."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    except PermissionError as error:
        raise StoreError(f"{path} cannot be opened ({error.strerror}): this user needs the right to write") from error
    try:
        try:
            fcntl.flock(descriptor, how)
        except OSError as error:
            raise StoreError(f"{path} cannot be locked ({error}): put the output where files can be locked") from error
        yield descriptor
    finally:
        os.close(descriptor)


def _read_file(url: str) -> tuple[str | None, bytes]:
    path = _path(url)
    if not path.exists():
        return None, b""
    with _locked(path, fcntl.LOCK_SH, os.O_RDONLY) as descriptor:
        content = os.pread(descriptor, 2**16, 0)
    return (_tag(content) if content else None), content


def _swap_file(url: str, tag: str | None, content: bytes) -> bool:
    path = _path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, fcntl.LOCK_EX, os.O_RDWR | os.O_CREAT) as descriptor:
        there = os.pread(descriptor, 2**16, 0)
        if (_tag(there) if there else None) != tag:
            return False
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    return True


def _read_remote(url: str) -> tuple[str | None, bytes]:
    """(tag, content). The tag is read first: where the content is newer, a swap fails and is retried."""
    fs, path = filesystem(url)
    try:
        tag = fs.info(path)["ETag"]
        return str(tag), fs.cat_file(path)
    except FileNotFoundError:
        return None, b""
    except KeyError as error:
        raise StoreError(f"{url} has no ETag: outputs are folders or s3:// locations") from error


def _swap_remote(url: str, tag: str | None, content: bytes) -> bool:
    fs, path = filesystem(url)
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
    try:
        fs.pipe_file(path, content, **condition)
    except OSError as error:
        answer = getattr(error.__cause__, "response", None) or {}
        if answer.get("Error", {}).get("Code") in _GONE_BY:
            return False
        raise
    return True
