"""Receipts: proof that a job's step is done. The state of a run is rebuilt from them alone.

A receipt is written as an object (`dsdit.receipts.objects`). `join_receipts` copies the objects of a step into a table
and removes them, so that each is read once; `compact_receipts` merges such tables into the one of all published
versions. Of several receipts of a job the youngest counts: an object before any table, a table before older ones. A
process killed in between leaves the same receipt in two places and loses none. Tables are read and written in batches:
only indices and digests of all jobs are in memory at once.

A receipt holds the digest of the step's inputs: one with another digest is stale, and its job is due.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.digest import NO_DIGEST, Digests, stack_digests
from dsdit.receipts.objects import (
    Receipt,
    list_objects,
    read_listed,
    read_receipt,
    receipt_object,
    remove_receipts,
    state_of,
    write_receipt,
)
from dsdit.receipts.tables import (
    STATES,
    Keys,
    among,
    batches,
    columns_of,
    damaged_tables,
    index_keys,
    keys_of,
    list_tables,
    next_table,
    oldest_table,
    receipts_of,
)
from dsdit.status import JobState
from dsdit.store.bulk import remove_objects
from dsdit.store.objects import join
from dsdit.store.parquet import take_rows, writing_table
from dsdit.window import Index

__all__ = [
    "Receipt",
    "append_receipts",
    "compact_receipts",
    "damaged_receipts",
    "done_jobs",
    "iterate_receipts",
    "join_receipts",
    "list_receipts",
    "new_receipts",
    "read_receipt",
    "read_receipts",
    "receipt_object",
    "remove_receipts",
    "write_receipt",
    "write_receipt_table",
]
JOINED_AT_ONCE = 50_000
"""Objects that become one table: at most so many are read again where the process is killed."""
_ROWS = 4096


def list_receipts(url: str, step: str) -> dict[Index, JobState]:
    """Job -> state of its receipt of `step`, from the listing and columns of the tables alone."""
    listed = {job: state_of(names) for job, names in list_objects(url, step).items()}
    found: dict[Index, JobState] = {}
    for table in reversed(list_tables(url, step)):
        for rows in batches(url, table, ("row", "col", "state")):
            found.update(_states_of(rows))
    return {**found, **listed}


def new_states(url: str, step: str) -> dict[Index, JobState]:
    """Job -> state of receipts written since `compact_receipts` was last called, without reading the rest of them."""
    found: dict[Index, JobState] = {}
    for table in reversed(list_tables(url, step)[:-1]):
        for rows in batches(url, table, ("row", "col", "state")):
            found.update(_states_of(rows))
    return {**found, **{job: state_of(names) for job, names in list_objects(url, step).items()}}


def _states_of(rows: dict[str, Any]) -> Iterator[tuple[Index, JobState]]:
    columns = (rows[name].tolist() for name in ("row", "col", "state"))
    return ((Index(row, col), STATES[state]) for row, col, state in zip(*columns, strict=True))


def iterate_receipts(
    url: str, step: str, jobs: Iterable[Index] | None = None, compacted: bool = True
) -> Iterator[Receipt]:
    """Receipts of those of `jobs` that have one, or of all jobs, one at a time: objects first, then tables.

    With `compacted` False, those that were written since `compact_receipts` was last called.
    """
    wanted = jobs if jobs is None or isinstance(jobs, Container) else set(jobs)
    # Objects are listed before tables: one that is joined meanwhile is then found in a table.
    listed = list_objects(url, step)
    chosen = listed if wanted is None else {job: names for job, names in listed.items() if job in wanted}
    known: list[Index] = []
    for job, receipt, _ in read_listed(url, step, chosen):
        if receipt is not None:
            known.append(job)
            yield receipt
    for rows in _youngest(url, list_tables(url, step)[: None if compacted else -1], keys_of(known)):
        for receipt in receipts_of(step, rows):
            if wanted is None or receipt.job in wanted:
                yield receipt


def _youngest(
    url: str, tables: list[str], known: Keys, columns: tuple[str, ...] | None = None
) -> Iterator[dict[str, Any]]:
    """Batches of rows of jobs that are neither in `known` nor in a table before theirs."""
    for table in tables:
        known, here = np.sort(known), [known]
        for rows in batches(url, table, columns):
            keys = index_keys(rows["row"], rows["col"])
            here.append(keys)
            yield take_rows(rows, ~among(keys, known))
        known = np.concatenate(here)


def new_receipts(url: str, step: str) -> Iterator[Receipt]:
    """Receipts that were written since `compact_receipts` was last called, one at a time."""
    return iterate_receipts(url, step, compacted=False)


def damaged_receipts(url: str, step: str) -> list[str]:
    """Names below `url` of receipts, and of their tables, whose checksums are wrong: their jobs count as not done."""
    read = read_listed(url, step, list_objects(url, step))
    return [f"{step}/{job}" for job, receipt, there in read if there and receipt is None] + damaged_tables(url, step)


def read_receipts(url: str, step: str, jobs: Iterable[Index] | None = None) -> dict[Index, Receipt]:
    """Receipts of those of `jobs` that have one, or of all jobs."""
    return {receipt.job: receipt for receipt in iterate_receipts(url, step, jobs)}


def done_jobs(url: str, step: str) -> tuple[NDArray[np.int32], Digests]:
    """(job, 2) indices and (job, 32) digests of the jobs whose receipt is done. A damaged object hides the tables."""
    jobs, done, digests = [], [], []
    for job, receipt, there in read_listed(url, step, list_objects(url, step)):
        if there:
            jobs.append(job)
        if receipt is not None and receipt.state is JobState.DONE:
            done.append(job)
            digests.append(receipt.digest)
    found = [(np.array(done, np.int32).reshape(-1, 2), stack_digests(digests))]
    columns = ("row", "col", "state", "digest")
    for rows in _youngest(url, list_tables(url, step), keys_of(jobs), columns):
        rows = take_rows(rows, rows["state"] == STATES.index(JobState.DONE))
        found.append((np.stack([rows["row"], rows["col"]], 1), rows["digest"]))
    return np.concatenate([indices for indices, _ in found]), np.concatenate([digests for _, digests in found])


def join_receipts(url: str, step: str) -> list[str]:
    """Moves the objects of a step into a table, so that each is read once; returns the names of what was damaged.

    A damaged object becomes a failed receipt and a damaged table is removed: their jobs are due. No other process may
    write receipts of these jobs meanwhile.
    """
    damaged = damaged_tables(url, step)
    remove_objects(url, damaged)
    rest = iter(list_objects(url, step).items())
    while part := dict(islice(rest, JOINED_AT_ONCE)):
        read = read_listed(url, step, part)
        with writing_table(join(url, next_table(url, step))) as table:
            while block := list(islice(read, _ROWS)):
                damaged += [f"{step}/{job}" for job, receipt, there in block if there and receipt is None]
                table.add(columns_of([receipt or _lost(step, job) for job, receipt, there in block if there]))
        remove_objects(join(url, step), (name for names in part.values() for name in reversed(names)))
    return damaged


def _lost(step: str, job: Index) -> Receipt:
    return Receipt(step, job, JobState.FAILED, NO_DIGEST, 0.0, errors=(f"the receipt of {step} {job} was damaged",))


def compact_receipts(url: str, step: str) -> int:
    """Joins the receipts of a step, then merges all its tables into one; returns the number of the new receipts.

    Receipts of cleared shards are left out: nothing of these jobs remains.
    Where it is killed, a younger table may be left whose rows the merged one holds too.
    """
    join_receipts(url, step)
    *young, oldest = list_tables(url, step)
    if not young:
        return 0
    new = sum(len(rows["row"]) for rows in _youngest(url, young, keys_of([]), ("row", "col")))
    with writing_table(join(url, oldest), columns_of([])) as table:
        for rows in _youngest(url, [*young, oldest], keys_of([])):
            rows = take_rows(rows, rows["state"] != STATES.index(JobState.CLEARED))
            table.add(rows if "tiles" in rows else columns_of(list(receipts_of(step, rows))))
    _remove_tables(url, young)
    return new


def append_receipts(url: str, step: str, receipts: Iterable[Receipt]) -> None:
    """Writes receipts as a table that is younger than all others. Objects of these jobs, if any, stay younger still."""
    rest = iter(receipts)
    with writing_table(join(url, next_table(url, step))) as table:
        while block := list(islice(rest, _ROWS)):
            table.add(columns_of(block))


def write_receipt_table(url: str, step: str, receipts: Iterable[Receipt]) -> None:
    """Writes the table of a step from receipts in memory; it replaces the step's tables."""
    rest, young = iter(receipts), list_tables(url, step)[:-1]
    with writing_table(join(url, oldest_table(step))) as table:
        while block := list(islice(rest, _ROWS)):
            table.add(columns_of(block))
    _remove_tables(url, young)


def _remove_tables(url: str, young: list[str]) -> None:
    # The oldest first: if this is killed, no table that is left hides a newer receipt of the merged one.
    for name in reversed(young):
        remove_objects(url, [name])
