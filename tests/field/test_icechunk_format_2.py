"""An output whose Icechunk repository has format 2, made or upgraded by icechunk 2: refused, and never removed.

`tests/data/icechunk-2` is a repository with one array, made by icechunk 2.3.0. An upgrade leaves all files of a
repository of format 1 but `refs/`, and adds `repo`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import icechunk
import pytest

import dsdit
from dsdit.errors import StoreError
from dsdit.mosaic.icechunk_versions import IcechunkStore
from dsdit.mosaic.versions import mosaic_store
from dsdit.receipts.receipts import list_receipts
from flows.plan.prepared import prepare
from flows.request.request import make_request
from tests.conftest import box
from tests.support.repository import JOBS, begin, publish
from tests.support.running import sample_record

MADE_BY_2 = Path(__file__).parents[1] / "data" / "icechunk-2"
REFUSED = (
    r"mosaic\.icechunk is an Icechunk repository of format 2 \(written by ic-2\.3\.0\), and the installed.*choose an"
)

pytestmark = pytest.mark.skipif(not icechunk.__version__.startswith("1."), reason="icechunk 2 reads format 2")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def made(output: Path) -> Path:
    shutil.copytree(MADE_BY_2, output / "mosaic.icechunk")
    return output


def upgraded(output: Path) -> Path:
    publish(output, dict.fromkeys(JOBS, 1))
    shutil.rmtree(output / "mosaic.icechunk/refs")
    shutil.copy(MADE_BY_2 / "repo", output / "mosaic.icechunk/repo")
    return output


@pytest.mark.parametrize("repository", [made, upgraded])
def test_a_repository_of_format_2_is_refused_and_stays_as_it_is(repository: Any, tmp_path: Path) -> None:
    output = repository(tmp_path / "out")
    before = contents(output)
    for use in (IcechunkStore(str(output)).begin, IcechunkStore(str(output)).unpublished):
        with pytest.raises(StoreError, match=REFUSED):
            use()
    for use in (dsdit.open_mosaic, dsdit.mosaic_versions, mosaic_store):
        with pytest.raises(StoreError, match=REFUSED):
            use(str(output))
    assert contents(output) == before


def test_a_run_into_it_is_refused_before_it_searches(catalog: Path, weights: Path, tmp_path: Path) -> None:
    output = upgraded(tmp_path / "out")
    (output / "receipts/mosaic").mkdir(parents=True)
    (output / "receipts/mosaic/00000000000000.done.json").write_text("{}")
    before = contents(output)
    bounds = box(60, 180, 180, 60)
    request = make_request(sample_record(catalog, weights, output, bounds, store="icechunk"))
    with pytest.raises(StoreError, match=REFUSED):
        prepare(request, to_run=True)
    assert contents(output) == before
    assert len(list_receipts(str(output / "receipts"), "mosaic")) == 1


@pytest.mark.parametrize("name", ["chunks/0123456789ABCDEFGHJK", "snapshots/0123456789ABCDEFGHJK", "notes.txt"])
def test_what_no_interrupted_run_leaves_is_never_removed(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    begin(IcechunkStore(str(output)))
    repository = output / "mosaic.icechunk"
    shutil.rmtree(repository / "refs")
    (repository / name).parent.mkdir(exist_ok=True)
    (repository / name).write_bytes(b"somebody's")
    before = contents(output)
    with pytest.raises(StoreError, match=r"is no Icechunk repository, and holds .*: move it away, or choose another"):
        IcechunkStore(str(output)).begin()
    assert contents(output) == before


def test_a_file_that_a_killed_run_had_half_written_is_part_of_its_rest(tmp_path: Path) -> None:
    begin(IcechunkStore(str(tmp_path / "whole")))
    first = (tmp_path / "whole/mosaic.icechunk/snapshots/1CECHNKREP0F1RSTCMT0").read_bytes()
    repository = tmp_path / "out/mosaic.icechunk"
    for name, content in (
        ("config.yaml", b"{}"),
        ("snapshots/1CECHNKREP0F1RSTCMT0", first),
        ("refs/branch.main/ref.json#1", b"{"),
    ):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(content)
    publish(tmp_path / "out", dict.fromkeys(JOBS, 1))
    assert dsdit.mosaic_versions(str(tmp_path / "out")) == [1]
