"""Receipts: proof that a job's step is done. Written after the data, one small object a job and step.

The status stands in the key, so that a listing tells the state of a run. A receipt holds the digest of the step's
inputs: one with another digest is stale, and its job is due. One that cannot be read, or whose own checksum is wrong,
counts as none.

`compact_receipts` joins the objects of a step into one table beside them. An object that is there later says more than
the table does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.errors import StoreError
from dsdit.status import JobState
from dsdit.store import join, list_names, read_json, remove_object, write_json
from dsdit.tables import read_table, write_table
from dsdit.window import Index

STEPS = ("stage", "sample", "mosaic")


@dataclass(frozen=True)
class Receipt:
    """One step of one job."""

    step: str
    job: Index
    state: JobState
    digest: str
    """Of the step's inputs; see `Plan.job_digest`."""
    seconds: float
    tiles: dict[str, int] = field(default_factory=dict)
    """Tile "row,col" -> TileState: those that the job owns (sample) or blends (mosaic)."""
    pixels: dict[str, int] = field(default_factory=dict)
    """Pixels by PixelStatus name, within the region (mosaic)."""
    sources: tuple[str, ...] = ()
    """Ids of the items that were read."""
    errors: tuple[str, ...] = ()
    """What went wrong, one sentence each."""
    measures: dict[str, float] = field(default_factory=dict)
    """Figures of the step, such as mean |A(sr) - lr| before and after restoring."""
    calls: int = 0
    """Network calls (sample)."""


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def _name(job: Index, state: JobState) -> str:
    return f"{job}.{state}.json"


def write_receipt(url: str, receipt: Receipt) -> None:
    """Writes the receipt below `url`, then removes the job's receipts of other states."""
    record = json.loads(json.dumps(asdict(receipt)))
    folder = join(url, receipt.step)
    write_json(join(folder, _name(receipt.job, receipt.state)), {**record, "checksum": _checksum(record)})
    for state in JobState:
        if state != receipt.state:
            remove_object(join(folder, _name(receipt.job, state)))


def read_receipt(url: str, step: str, job: Index) -> Receipt | None:
    """The job's receipt; None where there is none or it is damaged."""
    for state in JobState:
        try:
            record = read_json(join(url, step, _name(job, state)))
        except StoreError:
            continue
        if not isinstance(record, dict):
            continue
        checksum = record.pop("checksum", None)
        if checksum != _checksum(record):
            continue
        return _receipt(record)
    return None


def _receipt(record: dict[str, Any]) -> Receipt:
    return Receipt(
        **{
            **record,
            "job": Index(*record["job"]),
            "state": JobState(record["state"]),
            "sources": tuple(record["sources"]),
            "errors": tuple(record["errors"]),
        }
    )


def remove_receipt(url: str, step: str, job: Index) -> None:
    """Removes the job's receipt objects: what they proved is about to go."""
    for state in JobState:
        remove_object(join(url, step, _name(job, state)))


def list_receipts(url: str, step: str) -> dict[Index, JobState]:
    """Jobs that have a receipt of `step`, from the listing and the table's columns alone."""
    listed = _list_objects(url, step)
    table = _joined(url, step, ("row", "col", "state"))
    if table is None:
        return listed
    columns = (table[name].tolist() for name in ("row", "col", "state"))
    return {**{Index(r, c): _STATES[s] for r, c, s in zip(*columns, strict=True)}, **listed}


def iterate_receipts(url: str, step: str, jobs: Iterable[Index] | None = None) -> Iterator[Receipt]:
    """Receipts of those of `jobs` that have one, or of all jobs, one at a time: those in objects, then the table's."""
    wanted = jobs if jobs is None or isinstance(jobs, Container) else set(jobs)
    # The listing comes first: what a publish joins meanwhile is then found in the table.
    later = set()
    for receipt in new_receipts(url, step, wanted):
        later.add(receipt.job)
        yield receipt
    table = _joined(url, step, ("row", "col", "record"))
    if table is not None:
        for row, col, record in zip(table["row"].tolist(), table["col"].tolist(), table["record"], strict=True):
            if (row, col) not in later and (wanted is None or (row, col) in wanted):
                yield _receipt(json.loads(str(record)))


def new_receipts(url: str, step: str, jobs: Container[Index] | None = None) -> Iterator[Receipt]:
    """Receipts, of `jobs` or of all, that were written since `compact_receipts` last joined them, one at a time."""
    for job in _list_objects(url, step):
        receipt = read_receipt(url, step, job) if jobs is None or job in jobs else None
        if receipt is not None:
            yield receipt


def damaged_receipts(url: str, step: str) -> list[str]:
    """Names below `url` of receipts, and of their table, whose checksums are wrong: their jobs count as not done."""
    found = [f"{step}/{job}" for job in _list_objects(url, step) if read_receipt(url, step, job) is None]
    try:
        read_table(_table(url, step))
    except StoreError:
        found.append(f"{step}.parquet")
    return found


def read_receipts(url: str, step: str, jobs: Iterable[Index] | None = None) -> dict[Index, Receipt]:
    """Receipts of those of `jobs` that have one, or of all jobs."""
    return {receipt.job: receipt for receipt in iterate_receipts(url, step, jobs)}


def done_jobs(url: str, step: str) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """(job, 2) places and (job, 32) digests of the jobs whose receipt says done."""
    objects = [(job, read_receipt(url, step, job)) for job in _list_objects(url, step)]
    table = _joined(url, step, ("row", "col", "state", "digest"))
    places, digests = np.zeros((0, 2), np.int32), np.zeros((0, 32), np.uint8)
    if table is not None:
        places, digests = np.stack([table["row"], table["col"]], 1), table["digest"]
        later = {job for job, _ in objects}
        keep = table["state"] == _STATES.index(JobState.DONE)
        if later:
            keep &= np.array([place not in later for place in map(tuple, places.tolist())])
        places, digests = places[keep], digests[keep]
    done = [receipt for _, receipt in objects if receipt is not None and receipt.state is JobState.DONE]
    more = np.array([r.job for r in done], np.int32).reshape(-1, 2)
    return np.concatenate([places, more]), np.concatenate([digests, _raw([r.digest for r in done])])


def compact_receipts(url: str, step: str) -> int:
    """Joins the receipts of a step into its table, then removes their objects, damaged ones too; returns their number.

    Killed in between it leaves objects that say what the table says.
    """
    listed = _list_objects(url, step)
    if not listed:
        return 0
    table = _joined(url, step, ("row", "col", "state", "digest", "record"))
    objects = [receipt for job in sorted(listed) if (receipt := read_receipt(url, step, job)) is not None]
    columns = _columns(objects)
    if table is not None:
        places = zip(table["row"].tolist(), table["col"].tolist(), strict=True)
        keep = np.array([place not in listed for place in places], bool)
        old = [str(record) for record, k in zip(table["record"], keep.tolist(), strict=True) if k]
        columns = {
            name: [*old, *column] if name == "record" else np.concatenate([table[name][keep], column])
            for name, column in columns.items()
        }
    write_table(_table(url, step), columns)
    for job in listed:
        remove_receipt(url, step, job)
    return len(listed)


def write_receipt_table(url: str, step: str, receipts: Iterable[Receipt]) -> None:
    """The table of a step from receipts at hand, in place of the one that is there."""
    write_table(_table(url, step), _columns(list(receipts)))


_STATES = tuple(JobState)


def _columns(receipts: list[Receipt]) -> dict[str, Any]:
    places = np.array([r.job for r in receipts], np.int32).reshape(-1, 2)
    return {
        "row": places[:, 0],
        "col": places[:, 1],
        "state": np.array([_STATES.index(r.state) for r in receipts], np.uint8),
        "digest": _raw([r.digest for r in receipts]),
        "record": [json.dumps(asdict(r), separators=(",", ":")) for r in receipts],
    }


def _raw(digests: list[str]) -> NDArray[np.uint8]:
    """(n, 32) bytes of digests; one that is no sha256 in hex becomes zeros, which no input has."""
    found = np.zeros((len(digests), 32), np.uint8)
    for number, digest in enumerate(digests):
        with suppress(ValueError):
            found[number] = np.frombuffer(bytes.fromhex(digest), np.uint8)
    return found


def _table(url: str, step: str) -> str:
    return join(url, f"{step}.parquet")


def _joined(url: str, step: str, names: tuple[str, ...]) -> dict[str, Any] | None:
    """Columns of the table; None where there is none, or a damaged one: see `damaged_receipts`."""
    try:
        return read_table(_table(url, step), names)
    except StoreError:
        return None


def _list_objects(url: str, step: str) -> dict[Index, JobState]:
    found: dict[Index, JobState] = {}
    for name in list_names(join(url, step)):
        parts = name.split(".")
        if len(parts) == 3 and parts[2] == "json" and parts[1] in JobState.__members__.values():
            row, col = parts[0][:7], parts[0][7:]
            found[Index(int(row), int(col))] = JobState(parts[1])
    return found
