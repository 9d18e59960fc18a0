"""Receipts as objects: one small JSON file per job and step, written after the data that it proves.

The state is part of the object's name, so that a listing gives the state of a run. An object that cannot be parsed, or
whose checksum is wrong, counts as missing. Many are read and removed in bulk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from dsdit.digest import Digest, digest_from_hex
from dsdit.status import JobState
from dsdit.store.bulk import read_objects, remove_objects
from dsdit.store.objects import join, list_names, read_bytes, write_json
from dsdit.window import Index


@dataclass(frozen=True)
class Receipt:
    """What became of one step of one job."""

    step: str
    job: Index
    state: JobState
    digest: Digest
    """Of the step's inputs; see `Plan.job_digest`."""
    seconds: float
    tiles: Mapping[str, int] = field(default_factory=dict)
    """Tile "row,col" -> TileState: those that the job owns (sample) or blends (mosaic)."""
    pixels: dict[str, int] = field(default_factory=dict)
    """Pixels by PixelStatus name, within the region (mosaic)."""
    sources: tuple[str, ...] = ()
    """Ids of the items that were read."""
    errors: tuple[str, ...] = ()
    """One sentence for each thing that went wrong."""
    measures: dict[str, float] = field(default_factory=dict)
    """Figures of the step, such as mean |A(sr) - lr| before and after restoring."""
    calls: int = 0
    """Network calls (sample)."""


Listed = dict[Index, tuple[str, ...]]
"""Job -> names of its objects; where a killed writer left several, the state nearest to done comes first."""


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def receipt_name(job: Index, state: JobState) -> str:
    """Name of a receipt's object among those of its step."""
    return f"{job}.{state}.json"


def receipt_object(step: str, job: Index, state: JobState) -> str:
    """Name of a receipt's object below the folder of all receipts."""
    return join(step, receipt_name(job, state))


def receipt_record(receipt: Receipt) -> dict[str, Any]:
    """A receipt as plain JSON."""
    return {
        **vars(receipt),
        "job": list(receipt.job),
        "state": str(receipt.state),
        "digest": receipt.digest.hex(),
        "tiles": dict(receipt.tiles),
        "sources": list(receipt.sources),
        "errors": list(receipt.errors),
    }


def receipt_of(record: dict[str, Any]) -> Receipt:
    """The receipt of a record; inverse of `receipt_record`."""
    parsed = {
        "job": Index(*record["job"]),
        "state": JobState(record["state"]),
        "digest": digest_from_hex(record["digest"]),
        "sources": tuple(record["sources"]),
        "errors": tuple(record["errors"]),
    }
    return Receipt(**{**record, **parsed})


def write_receipt(url: str, receipt: Receipt) -> None:
    """Writes the receipt below `url`, then removes the job's receipts of other states."""
    record = receipt_record(receipt)
    folder = join(url, receipt.step)
    write_json(join(folder, receipt_name(receipt.job, receipt.state)), {**record, "checksum": _checksum(record)})
    remove_objects(folder, [receipt_name(receipt.job, state) for state in JobState if state != receipt.state])


def read_receipt(url: str, step: str, job: Index) -> Receipt | None:
    """The receipt in the job's object; None where there is none or it is damaged."""
    for state in JobState:
        receipt = _decode(read_bytes(join(url, step, receipt_name(job, state))))
        if receipt is not None:
            return receipt
    return None


def _decode(content: bytes | None) -> Receipt | None:
    try:
        record = None if content is None else json.loads(content)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    checksum = record.pop("checksum", None)
    return receipt_of(record) if checksum == _checksum(record) else None


def remove_receipts(url: str, step: str, jobs: Iterable[Index]) -> None:
    """Removes the receipt objects of jobs, whose data is about to be removed."""
    remove_objects(join(url, step), (receipt_name(job, state) for job in jobs for state in JobState))


def list_objects(url: str, step: str) -> Listed:
    """Jobs that have an object, in row-major order."""
    found: dict[Index, list[JobState]] = {}
    for name in list_names(join(url, step)):
        parts = name.split(".")
        if len(parts) == 3 and parts[2] == "json" and parts[1] in JobState.__members__.values():
            row, col = parts[0][:7], parts[0][7:]
            found.setdefault(Index(int(row), int(col)), []).append(JobState(parts[1]))
    order = list(JobState)
    return {job: tuple(receipt_name(job, s) for s in sorted(found[job], key=order.index)) for job in sorted(found)}


def state_of(names: tuple[str, ...]) -> JobState:
    """State of a job by the names of its objects."""
    return JobState(names[0].split(".")[1])


def read_listed(url: str, step: str, listed: Listed) -> Iterator[tuple[Index, Receipt | None, bool]]:
    """(job, its receipt, whether any object existed) of listed objects, one at a time, read in bulk."""
    wanted = [(job, name) for job, names in listed.items() for name in names]
    contents = read_objects(join(url, step), (name for _, name in wanted))
    by_job = ((job, content) for (job, _), (_, content) in zip(wanted, contents, strict=True))
    for job, group in groupby(by_job, key=lambda pair: pair[0]):
        existing = [content for _, content in group if content is not None]
        receipt = next((found for content in existing if (found := _decode(content)) is not None), None)
        yield job, receipt, bool(existing)
