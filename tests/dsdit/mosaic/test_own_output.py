"""A run refuses an output in which it would remove or replace what is not its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dsdit.errors import RequestError, StoreError
from dsdit.mosaic.own_output import check_location, check_own
from flows.publish.cleanup import remove_partials


@pytest.mark.parametrize("output", ["", "  ", "/", "/..", "s3://", "file:///", "{home}", "{home}/", "{home}/.."])
def test_the_root_and_the_home_folder_are_no_output(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home/me"))
    (tmp_path / "home/me").mkdir(parents=True)
    place = output.format(home=tmp_path / "home/me")
    with pytest.raises(RequestError, match=r"^output .*: give a folder of its own, such as"):
        check_location("output", place)


def test_folders_of_their_own_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in (f"{tmp_path}/out", "output/sample", "s3://bucket", "s3://bucket/out", f"file://{tmp_path}/out"):
        check_location("output", place)


@pytest.mark.parametrize(
    "foreign",
    [
        "receipts/2023-01-invoice.pdf",
        "scratch/thesis.tex",
        "scratch/receipts/invoice.pdf",
        "scratch/data.zarr/zarr.json",
        "history/notes.txt",
        "versions/1/report.docx",
        "versions/final/report.docx",
        "sr.tif",
        "item.json",
        "current/data",
        "mosaic.zarr/zarr.json",
    ],
)
def test_files_of_others_under_names_that_runs_use_are_refused(foreign: str, tmp_path: Path) -> None:
    path = tmp_path / foreign
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("of a person")
    with pytest.raises(StoreError, match="choose another output") as refused:
        check_own(str(tmp_path), str(tmp_path / "scratch"))
    assert foreign.split("/")[0] in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("mark", ["plans/latest.json", "plans/0123456789abcdef.json", "lease.json"])
def test_files_of_others_are_refused_in_an_output_that_has_runs_too(mark: str, tmp_path: Path) -> None:
    (tmp_path / mark).parent.mkdir(exist_ok=True)
    (tmp_path / mark).write_text('{"holder": "", "renewed": 7}')
    for name in (
        "receipts/mosaic.parquet",
        "receipts/mosaic.new/000001.parquet",
        "history/20240720T000000000000Z.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("of a run")
    (tmp_path / "sr.tif").write_text("of a run")
    check_own(str(tmp_path), str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/data").write_text("of a person")
    with pytest.raises(StoreError, match="scratch' holds 'data', which no run has written"):
        check_own(str(tmp_path), str(tmp_path / "scratch"))


def test_a_folder_with_other_things_is_accepted(tmp_path: Path) -> None:
    for name in ("README.md", "data/scene.tif", "receipts", "versions"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("of a person") if path.suffix else path.mkdir()
    check_own(str(tmp_path), str(tmp_path / "scratch"))


def test_partial_files_of_others_stay(tmp_path: Path) -> None:
    old = time.time() - 86400
    own = ["plans/a.json.1.partial", "receipts/mosaic/b.json.2.partial", "report.json.3.partial", "sr.tif.4.partial"]
    others = ["films/film.mkv.partial", "download.partial", "versions/1/mosaic.zarr/c.5.partial"]
    for name in own + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("cut off")
        os.utime(tmp_path / name, (old, old))
    assert remove_partials(str(tmp_path)) == len(own)
    assert [name for name in own + others if (tmp_path / name).exists()] == others
