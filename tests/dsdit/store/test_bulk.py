"""Many small objects on S3: read side by side with one request each, removed with one request a thousand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

import dsdit.store.bulk
from dsdit.errors import StoreError
from dsdit.receipts.receipts import Receipt, join_receipts, list_receipts, read_receipts, write_receipt
from dsdit.status import JobState
from dsdit.store.bulk import read_objects, remove_objects
from dsdit.window import Index
from tests.support.s3 import BUCKET, S3, counted_requests, s3_server

MANY = 120


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.fixture
def place(s3: S3, request: pytest.FixtureRequest) -> str:
    """A prefix with `MANY` objects."""
    for number in range(MANY):
        s3.client.put_object(Bucket=BUCKET, Key=f"{request.node.name}/{number}", Body=b"x" * number)
    return f"s3://{BUCKET}/{request.node.name}"


def test_reads_are_parallel_and_take_one_request_each(place: str) -> None:
    names = [*map(str, range(MANY)), "absent"]
    with counted_requests() as counts:
        found = list(read_objects(place, names))
    assert found == [*((str(number), b"x" * number) for number in range(MANY)), ("absent", None)]
    assert counts.pop("at once") > 16
    assert counts == {"get_object": MANY + 1}


def test_removal_is_one_request_a_thousand(place: str, s3: S3) -> None:
    with counted_requests() as counts:
        remove_objects(place, [*map(str, range(1, MANY)), "absent"])
    assert counts == {"delete_objects": 1, "at once": 1}
    assert set(s3.objects(f"{place.removeprefix(f's3://{BUCKET}/')}/")) == {f"{place.partition(BUCKET)[2][1:]}/0"}
    with counted_requests() as counts:
        remove_objects(place, map(str, range(2500)))
    assert counts["delete_objects"] == 3


@pytest.mark.parametrize("times", [1, 2, None])
def test_objects_that_the_store_did_not_remove_are_retried_and_then_named(
    times: int | None, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[int] = []
    call = s3fs.S3FileSystem.call_s3

    def refusing(self: s3fs.S3FileSystem, method: str, **more: Any) -> Any:
        keys = more["Delete"]["Objects"]
        requests.append(len(keys))
        if times is not None and len(requests) > times:
            return call(self, method, **more)
        return {"Errors": [{**keys[-1], "Code": "InternalError", "Message": "again"}]}

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", refusing)
    monkeypatch.setattr(dsdit.store.bulk, "_PAUSE_S", 0.001)
    if times is None:
        with pytest.raises(StoreError, match=r"1 objects could not be removed.*/2 \(InternalError: again\)"):
            remove_objects(place, ["1", "2"])
    else:
        remove_objects(place, ["1", "2"])
        assert requests == [2, *[1] * times]


def test_a_read_that_fails_is_no_absence(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(self: s3fs.S3FileSystem, path: str, **more: Any) -> bytes:
        raise OSError("the network is gone")

    monkeypatch.setattr(s3fs.S3FileSystem, "_cat_file", failing)
    with pytest.raises(OSError, match="the network is gone"):
        list(read_objects(place, ["1", "2"]))


def test_a_folder_is_read_and_emptied(tmp_path: Path) -> None:
    (tmp_path / "[a]*").mkdir()
    for name in ("1", "2"):
        (tmp_path / "[a]*" / name).write_text(name)
    folder = str(tmp_path / "[a]*")
    assert list(read_objects(folder, ["2", "absent", "1"])) == [("2", b"2"), ("absent", None), ("1", b"1")]
    remove_objects(folder, ["1", "absent"])
    assert [path.name for path in Path(folder).iterdir()] == ["2"]
    assert list(read_objects(str(tmp_path / "nowhere"), ["1"])) == [("1", None)]


def test_receipts_of_a_run_cost_a_read_each_and_few_removals(s3: S3) -> None:
    url = f"s3://{BUCKET}/night"
    receipts = [Receipt("mosaic", Index(0, col), JobState.DONE, col.to_bytes(32), 1.0) for col in range(MANY)]
    with counted_requests() as counts:
        for receipt in receipts:
            write_receipt(url, receipt)
    assert (counts["put_object"], counts["delete_objects"], counts["delete_object"]) == (MANY, MANY, 0)
    with counted_requests() as counts:
        assert join_receipts(url, "mosaic") == []
    assert counts["get_object"] <= MANY + 2 and counts["delete_objects"] == 1 and not counts["delete_object"]
    with counted_requests() as counts:
        assert list(read_receipts(url, "mosaic").values()) == receipts
        assert len(list_receipts(url, "mosaic")) == MANY
    assert counts["get_object"] <= 6
