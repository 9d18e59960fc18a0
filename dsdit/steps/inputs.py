"""The receipts of what a step reads from scratch, read before the data and checked again before writing.

A step that hung, or whose worker lost its scheduler, may continue when another copy of it is done and scratch was
removed: it would read fill and take it for no data. Receipts are removed before the data that they prove. So they are
read before the pixels, and looked for once more just before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dsdit.errors import StoreError
from dsdit.receipts.objects import Listed, Receipt, read_listed, read_receipt, receipt_name, receipt_object
from dsdit.status import JobState
from dsdit.store.bulk import read_objects
from dsdit.window import Index

Inputs = Mapping[tuple[str, Index], Receipt]
"""(step, job) -> its receipt."""


def read_inputs(url: str, works: Iterable[tuple[str, Index]]) -> Inputs:
    """Receipts below `url` of the steps that another one reads. Raises StoreError where one is missing.

    A receipt's name contains its state. All are read in parallel under the name of state DONE, then the others.
    """
    jobs: dict[str, list[Index]] = {}
    for step, job in works:
        jobs.setdefault(step, []).append(job)
    found: dict[tuple[str, Index], Receipt] = {}
    for step, wanted in jobs.items():
        listed: Listed = {job: (receipt_name(job, JobState.DONE),) for job in wanted}
        for job, receipt, _ in read_listed(url, step, listed):
            other = receipt or read_receipt(url, step, job)
            if other is None:
                raise _gone(url, f"{step}/{job}")
            found[step, job] = other
    return found


def check_inputs(url: str, inputs: Inputs) -> None:
    """Raises StoreError where a receipt was removed since it was read, and with it perhaps the data."""
    names = [receipt_object(step, job, receipt.state) for (step, job), receipt in inputs.items()]
    for name, content in read_objects(url, names):
        if content is None:
            raise _gone(url, name)


def _gone(url: str, name: str) -> StoreError:
    return StoreError(
        f"{url} has no receipt {name}, so that what this step reads may be gone: another copy of it was done, or "
        "scratch was removed during the run; the next run does again what is missing"
    )
