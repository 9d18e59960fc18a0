"""Versions of a mosaic in folders: hard links that nothing writes through, one rename to publish, no leftovers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from dsdit.errors import StoreError
from dsdit.mosaic.folder_versions import (
    READER_FILES,
    holds_mosaic,
    open_version,
    publish_version,
    published_mosaic,
    published_versions,
    unpublished,
)
from dsdit.mosaic.hard_links import link_tree
from dsdit.mosaic.versions import ZarrStore
from dsdit.store.arrays import create_array, forget_arrays, open_group, write_shard
from dsdit.store.objects import write_file, write_json
from dsdit.window import Index


def make_mosaic(folder: Path) -> None:
    """Four shards of ones below `folder`/mosaic.zarr, and the files beside it."""
    group = open_group(str(folder / "mosaic.zarr"), "a")
    create_array(group, "sr", (8, 8), (2, 2), (4, 4), "uint16", 0, ("y", "x"), {"about": "first"})
    for job in (Index(0, 0), Index(0, 1), Index(1, 0), Index(1, 1)):
        write_shard(str(folder / "mosaic.zarr"), "sr", Index(0, 0), job, np.ones((4, 4), np.uint16))
    for name in ("sr.tif", "picture.png", "item.json"):
        (folder / name).write_text("first")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def inodes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_ino for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output with one published version."""
    first = Path(open_version(str(tmp_path / "out")))
    make_mosaic(first)
    publish_version(str(tmp_path / "out"), str(first))
    return tmp_path / "out"


def test_nothing_is_written_through_a_hard_link(output: Path) -> None:
    before = contents(output / "versions/1")
    second = Path(open_version(str(output)))
    assert second == output / "versions/2"
    assert contents(second / "mosaic.zarr") == contents(output / "mosaic.zarr")
    mosaic = str(second / "mosaic.zarr")
    forget_arrays()
    write_shard(mosaic, "sr", Index(0, 0), Index(1, 0), np.full((4, 4), 2, np.uint16))
    open_group(mosaic)["sr"].attrs["about"] = "second"
    open_group(mosaic).attrs["about"] = "second"
    write_json(str(second / "item.json"), "second")
    (output / "packed.tif").write_text("second")
    write_file(str(second / "sr.tif"), output / "packed.tif")
    assert contents(output / "versions/1") == before
    old, new = inodes(output / "versions/1/mosaic.zarr"), inodes(second / "mosaic.zarr")
    assert {name for name in old if old[name] == new[name]} == {"sr/c/0/0", "sr/c/0/1", "sr/c/1/1"}


def test_a_written_object_that_has_a_link_gets_a_file_of_its_own(tmp_path: Path) -> None:
    """zarr's own store, without anything of ours."""
    group = open_group(str(tmp_path / "one"), "a")
    array = create_array(group, "sr", (4, 4), (2, 2), (4, 4), "uint16", 0, ("y", "x"))
    array[...] = 1
    shard = tmp_path / "one/sr/c/0/0"
    os.link(shard, tmp_path / "link")
    before = shard.read_bytes()
    array[0, 0] = 7
    assert shard.read_bytes() != before == (tmp_path / "link").read_bytes()
    os.link(tmp_path / "one/sr/zarr.json", tmp_path / "metadata")
    metadata = (tmp_path / "metadata").read_bytes()
    array.attrs["a"] = 1
    assert (tmp_path / "one/sr/zarr.json").read_bytes() != metadata == (tmp_path / "metadata").read_bytes()


def test_readers_see_the_old_version_until_one_rename(output: Path) -> None:
    opened = (output / "mosaic.zarr").resolve()
    second = Path(open_version(str(output)))
    for name in ("sr.tif", "picture.png", "item.json"):
        (second / name).write_text("second")
    assert (output / "sr.tif").read_text() == "first"
    assert unpublished(str(output)) == str(second)
    publish_version(str(output), str(second))
    assert (output / "sr.tif").read_text() == (output / "item.json").read_text() == "second"
    assert (output / "mosaic.zarr").resolve() == second.resolve() / "mosaic.zarr"
    assert unpublished(str(output)) is None
    assert contents(opened)
    assert sorted(p.name for p in output.iterdir()) == sorted(
        ["current", "versions", "mosaic.zarr", "sr.tif", "picture.png", "item.json"]
    )


@pytest.mark.parametrize("keep", [2, 3])
def test_old_versions_are_deleted_by_the_next_publish(output: Path, keep: int) -> None:
    for _ in range(4):
        publish_version(str(output), open_version(str(output)), keep)
    assert sorted(p.name for p in (output / "versions").iterdir()) == [str(n) for n in range(6 - keep, 6)]
    assert len(contents(output / "mosaic.zarr")) == 6


def test_an_interrupted_run_is_continued_in_its_version(output: Path) -> None:
    second = open_version(str(output))
    write_json(f"{second}/mosaic.zarr/begun", 1)
    leftover = output / "versions" / "3.abc.partial"
    leftover.mkdir()
    (Path(second) / "mosaic.zarr/sr/c/0/1.abc.partial").write_text("cut off")
    assert open_version(str(output)) == second
    assert not leftover.exists()
    publish_version(str(output), second)
    assert "sr/c/0/1.abc.partial" not in contents(Path(open_version(str(output))) / "mosaic.zarr")


def test_a_mosaic_that_was_written_in_place_becomes_the_first_version(tmp_path: Path) -> None:
    make_mosaic(tmp_path)
    before = contents(tmp_path)
    assert holds_mosaic(str(tmp_path)) and unpublished(str(tmp_path)) is None
    second = open_version(str(tmp_path))
    assert second == str(tmp_path / "versions/2")
    assert contents(tmp_path / "versions/1") == before
    assert (tmp_path / "current").readlink() == Path("versions/1")
    assert (tmp_path / "sr.tif").read_text() == "first"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_a_disk_without_hard_links_gets_copies_and_one_warning(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_mosaic(tmp_path / "a")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    assert link_tree(tmp_path / "a/mosaic.zarr", tmp_path / "b") == 6
    assert contents(tmp_path / "b") == contents(tmp_path / "a/mosaic.zarr")
    assert [os.strerror(number) in record.getMessage() for record in caplog.records] == [True]


def test_another_disk_gets_copies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk here")
    make_mosaic(tmp_path / "a")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        assert link_tree(tmp_path / "a/mosaic.zarr", Path(folder) / "b") == 6
        assert contents(Path(folder) / "b") == contents(tmp_path / "a/mosaic.zarr")
    assert "were copied into the new version" in caplog.text


def test_a_link_that_fails_for_another_reason_is_an_error(tmp_path: Path) -> None:
    """Here the name is taken: a copy would write through the existing file."""
    make_mosaic(tmp_path / "a")
    there = tmp_path / "b/sr/c/0/0"
    there.parent.mkdir(parents=True)
    there.write_text("other")
    with pytest.raises(FileExistsError):
        link_tree(tmp_path / "a/mosaic.zarr", tmp_path / "b")
    assert there.read_text() == "other"


PUBLISHER = """
import os, pathlib, sys
from dsdit.mosaic.folder_versions import publish_version
left, replace = int(sys.argv[2]), pathlib.Path.replace

def killed_after(path, target):
    global left
    if not left:
        os.kill(os.getpid(), 9)
    left -= 1
    return replace(path, target)

pathlib.Path.replace = killed_after
publish_version(sys.argv[1], sys.argv[1] + "/versions/1")
"""


@pytest.mark.parametrize("renames", range(6))
def test_a_first_publish_that_is_killed_shows_all_or_is_done_again(renames: int, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = open_version(str(output))
    make_mosaic(Path(first))
    done = subprocess.run([sys.executable, "-c", PUBLISHER, str(output), str(renames)], check=False)
    assert done.returncode == (-signal.SIGKILL if renames < 5 else 0)
    seen = [(output / name).exists() for name in READER_FILES]
    assert len(set(seen)) == 1
    assert unpublished(str(output)) == (None if seen[0] else first)
    if not seen[0]:
        assert open_version(str(output)) == first
        publish_version(str(output), first)
    assert (output / "sr.tif").read_text() == "first"


def test_links_that_an_earlier_publish_has_not_created_are_created_by_the_next_run(output: Path) -> None:
    for name in READER_FILES:
        (output / name).unlink()
    assert ZarrStore(str(output)).unpublished() is None
    assert (output / "picture.png").read_text() == "first" and (output / "mosaic.zarr/zarr.json").exists()


def test_an_empty_output_has_no_mosaic(tmp_path: Path) -> None:
    assert not holds_mosaic(str(tmp_path / "out"))
    assert unpublished(str(tmp_path / "out")) is None
    assert not (tmp_path / "out").exists()


def publish_value(output: Path, value: int) -> None:
    """One more version, whose four shards all hold `value`."""
    folder = open_version(str(output))
    for job in (Index(0, 0), Index(0, 1), Index(1, 0), Index(1, 1)):
        write_shard(f"{folder}/mosaic.zarr", "sr", Index(0, 0), job, np.full((4, 4), value, np.uint16))
    publish_version(str(output), folder, keep=50)


def test_a_version_that_was_opened_stays_whole_while_others_are_published(output: Path) -> None:
    pinned = published_mosaic(str(output))
    seen: list[set[int]] = []
    failed: list[StoreError] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            try:
                place = published_mosaic(str(output))
            except StoreError as error:
                failed.append(error)
                continue
            seen.append(set(np.unique(open_group(place)["sr"][:]).tolist()))

    reader = threading.Thread(target=read)
    reader.start()
    for value in range(2, 42):
        if value == 4:
            assert np.unique(open_group(pinned)["sr"][:]).tolist() == [1]
        publish_value(output, value)
    ended.set()
    reader.join()
    assert failed == []
    assert len(seen) > 1 and all(len(values) == 1 for values in seen)
    assert published_mosaic(str(output)) == str(output / "versions/41/mosaic.zarr")


def test_an_older_version_can_be_opened_as_long_as_it_is_kept(output: Path) -> None:
    for value in (2, 3):
        publish_value(output, value)
    open_version(str(output))
    assert published_versions(str(output)) == [1, 2, 3]
    assert np.unique(open_group(published_mosaic(str(output), 2))["sr"][:]).tolist() == [2]
    with pytest.raises(StoreError, match=r"no published version 4: kept are \[1, 2, 3\]"):
        published_mosaic(str(output), 4)
    with pytest.raises(StoreError, match=r"no published version: kept are none"):
        published_mosaic(str(output / "nothing"))
    assert published_mosaic("s3://bucket/out") == "s3://bucket/out/mosaic.zarr"
