"""`current` was removed, dangles, or leads elsewhere: readers and the next run still find the published version."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dsdit
from dsdit.errors import StoreError
from dsdit.mosaic.folder_versions import (
    MARKER,
    READER_FILES,
    open_version,
    publish_version,
    published_mosaic,
    published_versions,
    unpublished,
)
from dsdit.mosaic.icechunk_versions import IcechunkStore
from dsdit.mosaic.versions import ZarrStore
from dsdit.store.arrays import create_array, forget_arrays, open_group, write_shard
from dsdit.window import Index
from tests.support.repository import JOBS, decades
from tests.support.repository import publish as publish_in_repository


def publish(output: Path, value: int) -> None:
    """One more version, one of whose shards and files are new."""
    folder = Path(open_version(str(output)))
    group = open_group(str(folder / "mosaic.zarr"), "a")
    create_array(group, "sr", (8, 8), (2, 2), (4, 4), "uint16", 0, ("y", "x"))
    forget_arrays()
    for job in (Index(0, 0),) if value > 1 else (Index(0, 0), Index(0, 1), Index(1, 0), Index(1, 1)):
        write_shard(str(folder / "mosaic.zarr"), "sr", Index(0, 0), job, np.full((4, 4), value, np.uint16))
    for name in READER_FILES[1:]:
        (folder / name).write_text(str(value))
    publish_version(str(output), str(folder))


def values(mosaic: str) -> set[int]:
    return set(np.unique(open_group(mosaic)["sr"][:]).tolist())  # type: ignore[index]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two published versions."""
    for value in (1, 2):
        publish(tmp_path / "out", value)
    return tmp_path / "out"


def missing(pointer: Path) -> str:
    pointer.unlink()
    return "was missing"


def to(target: str) -> Callable[[Path], str]:
    def lead(pointer: Path) -> str:
        pointer.unlink()
        pointer.symlink_to(target)
        return f"led to {target!r}"

    return lead


DAMAGES = (
    missing,
    to("versions/9"),
    to("versions/1"),
    to("../elsewhere"),
    to("versions"),
    to("versions/2/mosaic.zarr"),
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_readers_and_the_next_run_find_the_published_version(damage: Callable[[Path], str], output: Path) -> None:
    wrong = damage(output / "current")
    assert published_versions(str(output)) == [1, 2]
    assert published_mosaic(str(output)) == str(output / "versions/2/mosaic.zarr")
    assert unpublished(str(output)) is None
    store = ZarrStore(str(output))
    assert store.mend() == wrong and store.mend() == ""
    assert (output / "current").readlink() == Path("versions/2")
    assert all((output / name).exists() for name in READER_FILES)
    publish(output, 3)
    assert values(str(output / "mosaic.zarr")) == {1, 3}
    assert published_versions(str(output)) == [2, 3]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_version_that_is_being_written_is_never_shown(damage: Callable[[Path], str], output: Path) -> None:
    third = Path(open_version(str(output)))
    (third / "item.json").write_text("3")
    damage(output / "current")
    store = ZarrStore(str(output))
    begun = store.unpublished()
    assert begun is not None and begun.folder == str(third)
    assert (output / "current").readlink() == Path("versions/2")
    store.publish(begun, 2)
    assert (output / "current").readlink() == Path("versions/3")
    assert not (third / MARKER).exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_output_from_before_the_mark_of_unpublished_versions(damage: Callable[[Path], str], output: Path) -> None:
    """Its begun version has neither mark nor item."""
    third = Path(open_version(str(output)))
    (third / MARKER).unlink()
    damage(output / "current")
    assert unpublished(str(output)) == str(third)
    assert published_versions(str(output)) == [1, 2]
    assert open_version(str(output)) == str(third) and (third / MARKER).exists()


def test_the_newest_version_was_deleted_with_its_folder(output: Path) -> None:
    shutil.rmtree(output / "versions/2")
    assert published_versions(str(output)) == [1]
    assert ZarrStore(str(output)).mend() == "led to 'versions/2'"
    publish(output, 3)
    assert values(str(output / "mosaic.zarr")) == {1, 3}


def test_a_copy_that_followed_links_is_refused_before_anything_moves(output: Path, tmp_path: Path) -> None:
    shutil.copytree(output, tmp_path / "copy", symlinks=False)
    before = sorted(str(path) for path in (tmp_path / "copy").rglob("*"))
    with pytest.raises(StoreError, match=r"current is no link, where a link to the published version belongs: move it"):
        open_version(str(tmp_path / "copy"))
    assert sorted(str(path) for path in (tmp_path / "copy").rglob("*")) == before


@pytest.mark.parametrize("damage", [missing, to("versions/9"), to("versions/1")])
def test_files_beside_a_repository_are_found_again(damage: Callable[[Path], str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    for value in (1, 2):
        publish_in_repository(output, dict.fromkeys(JOBS, value))
    wrong = damage(output / "current")
    assert decades(output) == [[2]] * 4 and dsdit.mosaic_versions(str(output)) == [1, 2]
    assert IcechunkStore(str(output)).mend() == wrong
    assert (output / "item.json").read_text() == "2"
