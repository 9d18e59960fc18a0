"""Commits of a run: data first, then the receipts; by themselves from time to time; none without the lease."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsdit.errors import LeaseError
from dsdit.mosaic.icechunk_versions import IcechunkStore
from dsdit.mosaic.version import Version
from dsdit.receipts.receipts import list_receipts, read_receipt
from dsdit.status import JobState
from dsdit.store.arrays import read_window
from flows.run.commits import MOST_WAITING, Commits
from tests.support.commands import wait_for
from tests.support.commits import check_no_receipt_before_commit, receipt, written
from tests.support.repository import JOBS, SIDE, WHOLE, begin, shard

LONG_S = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> IcechunkStore:
    return IcechunkStore(str(tmp_path / "out"))


def stands(store: IcechunkStore, version: Version, value: int) -> bool:
    """Whether the first shard of the run's branch holds `value`."""
    with store.writing(version) as mosaic:
        return bool((read_window(mosaic, "sr", WHOLE, WHOLE)[:SIDE, :SIDE] == shard(value)).all())


def test_a_shard_gets_its_receipt_with_its_commit(store: IcechunkStore, tmp_path: Path) -> None:
    version, receipts = begin(store), str(tmp_path / "receipts")
    commits = Commits(store, version, receipts, LONG_S, lambda: None)
    with commits.running():
        for part in written(store, version, 2, *JOBS[:2]):
            commits.add(part)
        assert commits.waiting and not commits.finished() and not list_receipts(receipts, "mosaic")
        assert not stands(store, version, 2)
        commits.commit()
        assert stands(store, version, 2)
        assert list_receipts(receipts, "mosaic") == dict.fromkeys(JOBS[:2], JobState.DONE)
        assert commits.finished() == [receipt(job) for job in JOBS[:2]]
        assert not commits.waiting and not commits.finished()


def test_commits_come_by_themselves_and_when_much_waits(store: IcechunkStore, tmp_path: Path) -> None:
    version, receipts = begin(store), str(tmp_path / "receipts")
    (first,), (second,) = written(store, version, 2, JOBS[0]), written(store, version, 3, JOBS[1])
    with Commits(store, version, receipts, 0.2, lambda: None).running() as commits:
        commits.add(first)
        wait_for(lambda: read_receipt(receipts, "mosaic", JOBS[0]), 60, "a commit by itself")
    with Commits(store, version, receipts, LONG_S, lambda: None).running() as commits:
        for _ in range(MOST_WAITING):
            commits.add(second)
        wait_for(lambda: read_receipt(receipts, "mosaic", JOBS[1]), 60, "a commit of many")


def test_nothing_is_committed_once_the_lease_is_lost(store: IcechunkStore, tmp_path: Path) -> None:
    version, receipts = begin(store), str(tmp_path / "receipts")

    def check() -> None:
        raise LeaseError("lost")

    commits = Commits(store, version, receipts, 0.1, check)
    with pytest.raises(LeaseError, match="lost"), commits.running():
        commits.add(written(store, version, 2, JOBS[0])[0])
        wait_for(commits.finished, 60, "the error of a commit")
    assert not list_receipts(receipts, "mosaic") and not stands(store, version, 2)


def test_no_receipt_comes_before_its_commit(tmp_path: Path) -> None:
    check_no_receipt_before_commit(tmp_path)


def test_what_a_run_leaves_uncommitted_gets_no_receipt(store: IcechunkStore, tmp_path: Path) -> None:
    version, receipts = begin(store), str(tmp_path / "receipts")
    with pytest.raises(KeyboardInterrupt), Commits(store, version, receipts, LONG_S, lambda: None).running() as commits:
        commits.add(written(store, version, 2, JOBS[0])[0])
        raise KeyboardInterrupt
    assert not list_receipts(receipts, "mosaic") and not stands(store, version, 2)
