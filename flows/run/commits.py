"""Commits of a run whose mosaic is a repository: what workers changed counts from the next commit on.

A thread commits every few seconds, however long a step takes. Data first, then the receipts: a shard's receipt is
written once the commit that holds it is made, so that a run that is killed does again what was not committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from dsdit.mosaic.version import Version
from dsdit.mosaic.versions import MosaicStore
from dsdit.receipts.receipts import Receipt, write_receipt
from flows.run.run_step import Uncommitted

MOST_WAITING = 256
"""Shards that wait for a commit at most."""
_RECEIPTS_AT_ONCE = 8


class Commits:
    """Shards that were written in forks and do not count yet."""

    def __init__(
        self, store: MosaicStore, version: Version, receipts: str, every_s: float, check: Callable[[], None]
    ) -> None:
        self._store, self._version, self._receipts = store, version, receipts
        self._every_s, self._check = every_s, check
        self._waiting: list[Uncommitted] = []
        self._finished: list[Receipt] = []
        self._changing, self._committing = threading.Lock(), threading.Lock()
        self._wake = threading.Event()
        self._error: BaseException | None = None
        self._ended = False

    @property
    def waiting(self) -> bool:
        """Whether `finished` has still something to return, now or after the next commit."""
        return bool(self._waiting or self._finished)

    def add(self, written: Uncommitted) -> None:
        """Takes what a worker gave back."""
        with self._changing:
            self._waiting.append(written)
            if len(self._waiting) >= MOST_WAITING:
                self._wake.set()

    def finished(self) -> list[Receipt]:
        """Receipts that were written since the last call. Raises what a commit has raised."""
        if self._error is not None:
            raise self._error
        with self._changing:
            found, self._finished = self._finished, []
        return found

    def commit(self) -> None:
        """Commits all that waits, then writes its receipts."""
        with self._committing:
            with self._changing:
                parts = list(self._waiting)
            if not parts:
                return
            self._check()
            self._store.commit(self._version, [part.changes for part in parts])
            with ThreadPoolExecutor(_RECEIPTS_AT_ONCE) as pool:
                list(pool.map(lambda part: write_receipt(self._receipts, part.receipt), parts))
            with self._changing:
                self._finished += [part.receipt for part in parts]
                del self._waiting[: len(parts)]

    def _run(self) -> None:
        while not self._ended and self._error is None:
            self._wake.wait(self._every_s)
            self._wake.clear()
            try:
                if not self._ended:
                    self.commit()
            except BaseException as error:  # noqa: BLE001 - `finished` raises it in the run's own thread
                self._error = error

    @contextmanager
    def running(self) -> Iterator[Commits]:
        """Commits from time to time while the block runs; what waits when it raises is left uncommitted."""
        thread = threading.Thread(target=self._run, name="commits", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended = True
            self._wake.set()
            thread.join()
