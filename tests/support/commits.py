"""Shards that wait for a commit, and what a process that dies in the middle of one leaves behind."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from dsdit.digest import NO_DIGEST
from dsdit.mosaic.icechunk_versions import IcechunkStore
from dsdit.mosaic.version import Version
from dsdit.receipts.receipts import Receipt, list_receipts
from dsdit.status import JobState
from dsdit.window import Index
from flows.run.commits import Commits
from flows.run.run_step import Uncommitted
from tests.support.checks import Killed
from tests.support.repository import JOBS, begin, write


def receipt(job: Index) -> Receipt:
    return Receipt("mosaic", job, JobState.DONE, NO_DIGEST, 1.0)


def written(store: IcechunkStore, version: Version, value: int, *jobs: Index) -> list[Uncommitted]:
    changes = write(store, version, dict.fromkeys(jobs, value))
    return [Uncommitted(receipt(job), changed) for job, changed in zip(jobs, changes, strict=True)]


def check_no_receipt_before_commit(folder: Path) -> None:
    """A process that dies while it commits leaves no receipt of what was to be committed."""
    store, receipts = IcechunkStore(str(folder / "out")), str(folder / "receipts")
    version = begin(store)
    commits = Commits(store, version, receipts, 3600, lambda: None)
    for part in written(store, version, 2, *JOBS):
        commits.add(part)
    with patch.object(IcechunkStore, "_commit", side_effect=Killed), pytest.raises(Killed):
        commits.commit()
    assert not list_receipts(receipts, "mosaic"), "a shard has a receipt and no commit"
