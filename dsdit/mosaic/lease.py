"""A lease on an output, so that two runs never write to one place: `lease.json`, taken and renewed by compare-and-swap.

On a folder the swap is a rewrite under the file's lock, on S3 a conditional put. The holder raises a counter again and
again. Whoever finds the lease taken watches the counter by a clock of its own: one that stands still for `expire_s`
belongs to a dead run, whatever the machines' dates say. A holder that could not renew in time takes its lease for lost.
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
"""How long a counter must stand still before its holder counts as dead."""
RENEWALS = 5
"""Renewals within that time."""
LOST = 0.8
"""Share of that time without a renewal after which a holder stops: before anybody else can have taken the lease."""
_LONGEST_S = 60.0
_GONE_BY = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404", "409", "412")
"""S3's answers to a conditional put whose condition does not hold."""

_LOST_WORDS = "the lease {} is lost ({}): this run stops; the same command goes on"
Say = Callable[[str], None]
Check = Callable[[], None]
"""Called before something is written: raises LeaseError where nothing may be."""


def unchecked() -> None:
    """The check of a step for which no run holds a lease."""


@dataclass(frozen=True)
class Seen:
    """What stands in the lease."""

    tag: str | None
    """Of this very content, for the swap; None where there is nothing."""
    holder: str = ""
    """Id of the run that holds it; empty where nobody does."""
    words: str = ""
    """Of the run, for people."""
    renewed: int = 0
    """Counter."""
    expire_s: float = EXPIRE_S


class Lease:
    """The lease of this run: taken by `take`, renewed by a thread of its own until `release`."""

    def __init__(self, output: str, words: str, expire_s: float = EXPIRE_S) -> None:
        self.url = join(output, NAME)
        self.words = words
        self.expire_s = expire_s
        self.holder = uuid.uuid4().hex
        self._count = 0
        self._renewed_at = _awake()
        self._lost = ""
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, wait: bool = False, say: Say = lambda _: None) -> None:
        """Takes the lease. One that is held is waited for, or refused with a LeaseError that names its run."""
        watched, since, told = Seen(None), time.monotonic(), ""
        while True:
            seen = read(self.url)
            if seen.tag is None or not seen.holder:
                if self._swap(seen.tag):
                    break
                continue
            if (seen.holder, seen.renewed) != (watched.holder, watched.renewed):
                if not wait and seen.holder == watched.holder:
                    raise LeaseError(f"{self.url} is held by {seen.words}: wait for its end, or set on_conflict: wait")
                watched, since = seen, time.monotonic()
                if told != seen.holder:
                    say(f"lease: {seen.words} holds {self.url}; watching whether it lives")
                    told = seen.holder
            elif time.monotonic() - since >= seen.expire_s:
                say(f"lease: {seen.words} is dead: its lease is taken over")
                if self._swap(seen.tag):
                    break
            time.sleep(min(seen.expire_s / (2 * RENEWALS), 1.0))
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LeaseError where the lease is no longer ours: nothing more may be written."""
        if not self._lost and _awake() - self._renewed_at > LOST * self.expire_s:
            self._lost = f"it could not be renewed for {LOST * self.expire_s:.0f} s"
        if self._lost:
            raise LeaseError(_LOST_WORDS.format(self.url, self._lost))

    def release(self) -> None:
        """Gives the lease back, if it is still ours."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        seen = read(self.url)
        if seen.holder == self.holder:
            _swap(self.url, seen.tag, _record("", "", self._count + 1, self.expire_s))

    def _renew(self) -> None:
        while not self._end.wait(self.expire_s / RENEWALS) and not self._lost:
            with suppress(Exception):  # a store that does not answer: tried again, until `check` calls the lease lost
                seen = read(self.url)
                if seen.holder != self.holder:
                    self._lost = _taken(seen)
                else:
                    self._swap(seen.tag)

    def _swap(self, tag: str | None) -> bool:
        asked = _awake()
        record = _record(self.holder, self.words, self._count + 1, self.expire_s)
        done = _swap(self.url, tag, record)
        if not done:  # an answer that was lost on its way may have been a yes
            seen = read(self.url)
            done = (seen.holder, seen.renewed) == (self.holder, self._count + 1)
        if done:
            self._count, self._renewed_at = self._count + 1, asked
        return done


@contextmanager
def held(
    output: str, words: str, expire_s: float = EXPIRE_S, wait: bool = False, say: Say = lambda _: None
) -> Iterator[Lease]:
    """The lease of `output` while the block runs; given back at its end, however it ends. Raises LeaseError."""
    lease = Lease(output, words, expire_s)
    lease.take(wait, say)
    try:
        yield lease
    finally:
        with suppress(Exception):  # it expires by itself
            lease.release()


def check_holder(url: str, holder: str) -> None:
    """Raises LeaseError unless `holder` holds the lease at `url`: a step that outlives its run must write nothing.

    A worker asks just before it writes. What is left is the moment between the answer and the write, in which a run
    that was dead for `expire_s` would have to have a successor.
    """
    seen = read(url)
    if seen.holder != holder:
        raise LeaseError(_LOST_WORDS.format(url, _taken(seen)))


def _taken(seen: Seen) -> str:
    return f"{seen.words} has taken it" if seen.holder else "it was taken away"


def read(url: str) -> Seen:
    """What stands in the lease at `url`. One that cannot be understood is held by nobody known, until it expires."""
    tag, content = _read_remote(url) if is_remote(url) else _read_file(url)
    if not content:
        return Seen(tag)
    try:
        record = json.loads(content)
        return Seen(
            tag,
            str(record["holder"])[:64],
            " ".join(str(record["words"]).split())[:300],
            int(record["renewed"]),
            min(max(float(record["expire_s"]), 0.1), _LONGEST_S),
        )
    except (ValueError, TypeError, KeyError):
        return Seen(tag, f"damaged {tag}", "a run whose lease cannot be read")


def _awake() -> float:
    """A clock for holders, in seconds: unlike the monotonic one it goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _record(holder: str, words: str, renewed: int, expire_s: float) -> bytes:
    record = {"holder": holder, "words": words, "renewed": renewed, "expire_s": expire_s}
    return json.dumps(record, sort_keys=True).encode()


def _swap(url: str, tag: str | None, content: bytes) -> bool:
    """Writes `content` if what stands there is still what `tag` is of; False where it is not. Raises StoreError."""
    return _swap_remote(url, tag, content) if is_remote(url) else _swap_file(url, tag, content)


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _path(url: str) -> Path:
    return Path(filesystem(url)[1])


@contextmanager
def _locked(path: Path, how: int, flags: int) -> Iterator[int]:
    """A descriptor of the file under its lock, which goes with its process. Raises StoreError."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    except PermissionError as error:
        raise StoreError(f"{path} cannot be opened ({error.strerror}): ask for the right to") from error
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
    """The tag is read first: with a content that is newer than it a swap fails, and is tried again."""
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
