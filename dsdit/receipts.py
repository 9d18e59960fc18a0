"""Receipts: proof that a job's step is done. Written after the data, one small object a job and step.

The status stands in the key, so that a listing tells the state of a run. A receipt holds the digest of the step's
inputs: one with another digest is stale, and its job is due. One that cannot be read, or whose own checksum is wrong,
counts as none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from dsdit.errors import StoreError
from dsdit.status import JobState
from dsdit.store import join, list_names, read_json, remove, write_json
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
            remove(join(folder, _name(receipt.job, state)))


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
        return Receipt(
            **{
                **record,
                "job": Index(*record["job"]),
                "state": JobState(record["state"]),
                "sources": tuple(record["sources"]),
                "errors": tuple(record["errors"]),
            }
        )
    return None


def remove_receipt(url: str, step: str, job: Index) -> None:
    """Removes the job's receipts: what they proved is about to go."""
    for state in JobState:
        remove(join(url, step, _name(job, state)))


def list_receipts(url: str, step: str) -> dict[Index, JobState]:
    """Jobs that have a receipt of `step`, from the listing alone."""
    found: dict[Index, JobState] = {}
    for name in list_names(join(url, step)):
        parts = name.split(".")
        if len(parts) == 3 and parts[2] == "json" and parts[1] in JobState.__members__.values():
            row, col = parts[0][:7], parts[0][7:]
            found[Index(int(row), int(col))] = JobState(parts[1])
    return found


def read_receipts(url: str, step: str, jobs: Iterable[Index]) -> dict[Index, Receipt]:
    """Receipts of those of `jobs` that have one."""
    listed = list_receipts(url, step)
    receipts = {job: read_receipt(url, step, job) for job in jobs if job in listed}
    return {job: receipt for job, receipt in receipts.items() if receipt is not None}
