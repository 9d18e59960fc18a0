"""Versions in a repository: one step to publish, shared shards, time travel, no leftovers, one writer."""

from __future__ import annotations

import threading
from pathlib import Path

import icechunk
import numpy as np
import pytest
import xarray as xr

import dsdit
from dsdit.errors import StoreError
from dsdit.mosaic.icechunk_versions import IcechunkStore
from dsdit.mosaic.versions import ZarrStore, mosaic_store
from dsdit.store.arrays import create_array, open_group, read_window, write_shard
from dsdit.store.objects import write_bytes
from dsdit.window import Index
from tests.support.repository import JOBS, SIDE, WHOLE, begin, chunks, decades, files, publish, shard, write


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """One published version, all of value 1."""
    publish(tmp_path / "out", dict.fromkeys(JOBS, 1))
    return tmp_path / "out"


def test_a_run_writes_its_shard_alone_and_the_old_version_stays(output: Path) -> None:
    before = chunks(output)
    assert len(before) == 4
    publish(output, {JOBS[3]: 2})
    assert before < chunks(output) and len(chunks(output)) == 5
    assert decades(output) == decades(output, 2) == [[1], [1], [1], [2]]
    assert decades(output, 1) == [[1]] * 4
    tree = dsdit.open_mosaic(str(output), 1)
    assert (tree["sr"].values[SIDE:, SIDE:] == shard(1)).all()
    assert dsdit.mosaic_versions(str(output)) == [1, 2]
    assert (output / "item.json").read_text() == "2" and (output / "versions/1/item.json").read_text() == "1"


def test_writers_see_changes_after_the_commit_and_readers_after_publishing(output: Path) -> None:
    store = IcechunkStore(str(output))
    opened = dsdit.open_mosaic(str(output))
    version = begin(store)
    changes = write(store, version, {JOBS[0]: 2, JOBS[1]: 3})
    with store.writing(version) as mosaic:
        assert (read_window(mosaic, "sr", WHOLE, WHOLE) // 10 == 1).all()
    store.commit(version, changes)
    with store.writing(version) as mosaic:
        assert (read_window(mosaic, "sr", WHOLE, WHOLE)[:SIDE, :SIDE] == shard(2)).all()
    assert decades(output) == [[1]] * 4 and store.versions() == [1]
    store.publish(version, 2)
    assert decades(output) == [[2], [3], [1], [1]]
    assert (opened["sr"].values // 10 == 1).all(), "a tree that was opened before stays at its version"


def test_a_block_that_raises_commits_nothing(output: Path) -> None:
    store = IcechunkStore(str(output))
    version = begin(store)
    with pytest.raises(RuntimeError), store.writing(version) as mosaic:
        write_shard(mosaic, "sr", Index(0, 0), JOBS[0], shard(5))
        raise RuntimeError
    store.publish(version, 2)
    assert decades(output) == [[1]] * 4


def test_an_interrupted_run_is_continued_in_its_branch(output: Path) -> None:
    first = IcechunkStore(str(output))
    version = begin(first)
    first.commit(version, write(first, version, {JOBS[0]: 2}))
    write(first, version, {JOBS[1]: 9})  # lost with the run
    second = IcechunkStore(str(output))
    assert second.unpublished() == version == second.begin()
    second.commit(version, write(second, version, {JOBS[1]: 3}))
    second.publish(version, 2)
    assert decades(output) == [[2], [3], [1], [1]]
    assert IcechunkStore(str(output)).unpublished() is None
    assert len(chunks(output)) == 6, "what was lost is collected"


def test_the_second_of_two_writers_is_refused(output: Path) -> None:
    slow, fast = IcechunkStore(str(output)), IcechunkStore(str(output))
    version = begin(slow)
    late = write(slow, version, {JOBS[0]: 8})
    fast.commit(version, write(fast, fast.begin(), {JOBS[0]: 2}))
    with pytest.raises(StoreError, match="was written to by another run: this run stops; the same command goes on"):
        slow.commit(version, late)
    fast.publish(version, 2)
    with pytest.raises(StoreError, match="cannot be used: ref not found `night-2`"):
        slow.commit(version, late)
    assert decades(output) == [[2], [1], [1], [1]]


def test_commits_at_the_same_moment_have_one_winner(output: Path) -> None:
    store = IcechunkStore(str(output))
    version = begin(store)
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(output / "mosaic.icechunk")))
    with pytest.raises(StoreError, match="was written to by another run"), store.writing(version) as mosaic:
        open_group(mosaic).attrs["by"] = "one"
        other = repository.writable_session("night-2")
        xr.Dataset(attrs={"by": "another"}).to_zarr(other.store, mode="a", consolidated=False)
        other.commit("by another")


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_interrupted_publish_is_finished_by_the_next_run(output: Path, done: int) -> None:
    store = IcechunkStore(str(output))
    version = begin(store)
    store.commit(version, write(store, version, {JOBS[0]: 2}))
    write_bytes(f"{version.folder}/item.json", b"2")
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(output / "mosaic.icechunk")))
    tip = repository.lookup_branch("night-2")
    repository.create_branch("version-2", tip)
    if done > 0:
        repository.create_tag("2", tip)
    if done > 1:
        repository.reset_branch("main", tip)
    after = IcechunkStore(str(output))
    assert after.unpublished() is None
    assert decades(output) == [[2], [1], [1], [1]] and after.versions() == [1, 2]
    assert (output / "item.json").read_text() == "2"
    assert repository.list_branches() == {"main", "version-1", "version-2"}
    assert repository.list_tags() == {"1", "2"} and repository.lookup_tag("2") == tip
    assert after.begin().name == "3"


@pytest.mark.parametrize("keep", [2, 3])
def test_old_versions_are_deleted_with_all_that_only_they_need(output: Path, keep: int) -> None:
    for value in range(2, 7):
        publish(output, {JOBS[0]: value}, keep)
    newest = list(range(7 - keep, 7))
    assert dsdit.mosaic_versions(str(output)) == newest
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(output / "mosaic.icechunk")))
    assert repository.list_tags() == {str(n) for n in newest}
    assert repository.list_branches() == {"main", *(f"version-{n}" for n in newest)}
    assert [decades(output, n) for n in newest] == [[[n], [1], [1], [1]] for n in newest]
    assert len(chunks(output)) == 3 + keep
    assert len(list((output / "mosaic.icechunk/snapshots").iterdir())) == 1 + keep
    assert sorted(p.name for p in (output / "versions").iterdir()) == [str(n) for n in newest]
    assert sorted(p.name for p in output.iterdir()) == ["current", "item.json", "mosaic.icechunk", "versions"]
    with pytest.raises(StoreError, match=r"no published version 1: kept are \["):
        dsdit.open_mosaic(str(output), 1)


def test_snapshots_that_another_user_has_tagged_are_not_collected(output: Path) -> None:
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(output / "mosaic.icechunk")))
    repository.create_tag("report-2024", repository.lookup_branch("main"))
    for value in range(2, 6):
        publish(output, dict.fromkeys(JOBS, value))
    session = repository.readonly_session(tag="report-2024")
    assert (xr.open_zarr(session.store, consolidated=False)["sr"].values // 10 == 1).all()


def test_a_reader_that_never_stops_sees_whole_versions_only(output: Path) -> None:
    seen: list[list[int]] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            tree = dsdit.open_mosaic(str(output))
            seen.append(sorted(set((tree["sr"].values // 10).ravel().tolist())))

    reader = threading.Thread(target=read)
    reader.start()
    for value in range(2, 22):
        publish(output, dict.fromkeys(JOBS, value))
    ended.set()
    reader.join()
    assert len(seen) > 1 and all(len(values) == 1 for values in seen)
    assert seen == sorted(seen)


def test_an_empty_output_has_no_mosaic_and_looking_creates_none(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    store = IcechunkStore(output)
    assert not store.holds() and store.unpublished() is None and store.versions() == []
    with pytest.raises(StoreError, match="no published version: kept are none"):
        store.opened()
    assert not (tmp_path / "out").exists()
    assert isinstance(mosaic_store(output), ZarrStore)


def test_a_half_created_repository_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    begin(IcechunkStore(str(tmp_path / "whole")))
    for name in ("config.yaml", "snapshots/1CECHNKREP0F1RSTCMT0"):
        content = (tmp_path / "whole/mosaic.icechunk" / name).read_bytes()
        write_bytes(f"{tmp_path}/out/mosaic.icechunk/{name}", content)
    assert not IcechunkStore(str(tmp_path / "out")).holds()
    publish(tmp_path / "out", dict.fromkeys(JOBS, 1))
    assert decades(tmp_path / "out") == [[1]] * 4


def test_a_chunk_that_is_gone_is_an_error_and_never_fill(output: Path) -> None:
    for path in (output / "mosaic.icechunk/chunks").iterdir():
        path.unlink()
    with pytest.raises(icechunk.IcechunkError):
        decades(output)


def test_looking_writes_nothing(output: Path) -> None:
    before = files(output)
    store = mosaic_store(str(output), "icechunk")
    assert store.holds() and store.unpublished() is None and store.versions() == [1]
    assert decades(output) == [[1]] * 4
    assert files(output) == before


def test_an_output_of_another_store_is_refused(output: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds a mosaic of store 'icechunk', and store 'zarr' was requested"):
        mosaic_store(str(output), "zarr")
    (tmp_path / "plain/versions/1").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"holds a mosaic of store 'zarr'.*set store: zarr, or choose another output"):
        mosaic_store(str(tmp_path / "plain"), "icechunk")


def test_a_repository_is_stored_in_a_folder_or_on_s3() -> None:
    with pytest.raises(StoreError, match=r"is stored in a folder or on s3://: give one, or set store: zarr"):
        IcechunkStore("memory://bucket/out").begin()


def test_a_commit_writes_the_lists_that_it_touches(tmp_path: Path) -> None:
    store = IcechunkStore(str(tmp_path / "out"))
    version = store.begin()
    with store.writing(version) as mosaic:
        row = create_array(
            open_group(mosaic, "a"), "row", (3, 8, 8 * 130), (3, 8, 8), None, "uint8", 0, ("band", "y", "x")
        )
        row[...] = 1
    lists = tmp_path / "out/mosaic.icechunk/manifests"
    assert len(list(lists.iterdir())) == 3, "130 shards in lists of 64"
    with store.writing(version) as mosaic:
        open_group(mosaic)["row"][:, :, 8 * 100 : 8 * 101] = 2  # type: ignore[index]
    assert len(list(lists.iterdir())) == 4
    with store.writing(version) as mosaic:
        assert np.unique(open_group(mosaic)["row"][:]).tolist() == [1, 2]  # type: ignore[index]
