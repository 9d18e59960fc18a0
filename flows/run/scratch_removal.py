"""Removal of scratch that no step reads any more, in a thread of its own: the run's loop waits for no store.

What was released is removed in bulk, the receipts of all before the data that they prove, and no longer than the run
holds its output. A removal that fails stops the run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import receipt_object
from dsdit.status import JobState
from dsdit.steps.scratch import SCRATCH, origin
from dsdit.store.bulk import remove_objects
from dsdit.window import Index
from flows.run.run_step import Places

Released = tuple[str, Index, JobState]
"""Step, job, and state of the step's receipt."""
MOST_WAITING = 4096
"""Steps whose scratch waits to be removed at most: where a store is slower than the run, the run waits for it."""


def remove_scratch(plan: Plan, places: Places, released: Sequence[Released]) -> None:
    """Removes what steps wrote into scratch, receipts first. Raises StoreError where something stays."""
    remove_objects(places.scratch_receipts, [receipt_object(*work) for work in released])
    first = origin(plan)
    arrays = ((spec, job) for step, job, _ in released for spec in SCRATCH[step])
    remove_objects(places.scratch, (spec.shard_object(first, job) for spec, job in arrays))


class Removals:
    """Scratch that waits to be removed."""

    def __init__(self, plan: Plan, places: Places, check: Callable[[], None] = lambda: None) -> None:
        self._plan, self._places, self._check = plan, places, check
        self._waiting: list[Released] = []
        self._change = threading.Condition()
        self._error: BaseException | None = None
        self._ended = False

    def add(self, step: str, job: Index, state: JobState) -> None:
        """Takes a step that nobody reads any more. Raises what an earlier removal has raised."""
        with self._change:
            self._change.wait_for(lambda: len(self._waiting) < MOST_WAITING or self._error is not None)
            if self._error is not None:
                raise self._error
            self._waiting.append((step, job, state))
            self._change.notify_all()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: bool(self._waiting) or self._ended)
                batch, self._waiting = self._waiting, []
                self._change.notify_all()
            if not batch:
                return
            try:
                self._check()
                remove_scratch(self._plan, self._places, batch)
            except BaseException as error:  # noqa: BLE001 - `add` or the end of `running` raises it in the run's thread
                with self._change:
                    self._error = error
                    self._change.notify_all()
                return

    @contextmanager
    def running(self) -> Iterator[Removals]:
        """Removes while the block runs, and at its end all that waits, also where it raises."""
        thread = threading.Thread(target=self._run, name="removals", daemon=True)
        thread.start()
        try:
            yield self
        except BaseException as raised:
            self._end(thread)
            if self._error is not None and self._error is not raised:
                raised.add_note(f"scratch could not be removed either: {self._error}")
            raise
        self._end(thread)
        if self._error is not None:
            raise self._error

    def _end(self, thread: threading.Thread) -> None:
        with self._change:
            self._ended = True
            self._change.notify_all()
        thread.join()
