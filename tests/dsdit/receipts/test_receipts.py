"""Receipts: what was written is read back, a damaged one counts as missing, a listing gives the state."""

from pathlib import Path

import pytest

from dsdit.receipts.receipts import Receipt, list_receipts, read_receipt, remove_receipts, write_receipt
from dsdit.status import JobState
from dsdit.window import Index


def receipt(state: JobState = JobState.DONE) -> Receipt:
    return Receipt(
        "sample", Index(-3, 7), state, b"d" * 32, 1.5, tiles={"-12,28": 0}, errors=("e",), sources=("a", "b")
    )


def test_round_trip_and_listing(tmp_path: Path) -> None:
    write_receipt(str(tmp_path), receipt())
    assert read_receipt(str(tmp_path), "sample", Index(-3, 7)) == receipt()
    assert list_receipts(str(tmp_path), "sample") == {Index(-3, 7): JobState.DONE}
    assert read_receipt(str(tmp_path), "stage", Index(-3, 7)) is None


def test_a_new_state_replaces_the_old_one(tmp_path: Path) -> None:
    write_receipt(str(tmp_path), receipt(JobState.FAILED))
    write_receipt(str(tmp_path), receipt(JobState.DONE))
    assert list_receipts(str(tmp_path), "sample") == {Index(-3, 7): JobState.DONE}
    remove_receipts(str(tmp_path), "sample", [Index(-3, 7)])
    assert list_receipts(str(tmp_path), "sample") == {}


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b.replace(b"1.5", b"2.5"), lambda b: b""])
def test_a_damaged_receipt_counts_as_none(tmp_path: Path, damage) -> None:
    write_receipt(str(tmp_path), receipt())
    (path,) = (tmp_path / "sample").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert read_receipt(str(tmp_path), "sample", Index(-3, 7)) is None
