"""A run changes a mosaic that somebody reads all the time: every read is a whole old or a whole new state."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dsdit.errors import RequestError
from dsdit.receipts.receipts import read_receipts, write_receipt_table
from flows.request.request import make_request
from flows.tasks import check_nightly
from tests.support.commands import DSDIT, ROOT, call, environment, files_below, prefect_home, served, started, wait_for
from tests.support.commands import write_request as write
from tests.support.equator import equator_record
from tests.support.kept import AROUND_ZERO, equator_catalog
from tests.support.reader import PLAIN_READER


def inodes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_ino for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def record(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("versions") / "out"
    catalog = equator_catalog(tmp_path_factory.getbasetemp())
    return equator_record(catalog, weights, output, AROUND_ZERO, sampling={"steps": 1, "batch": 4})


def run(path: Path, *settings: str) -> str:
    pairs = [part for setting in settings for part in ("--set", setting)]
    done = call([*DSDIT, "run", str(path), *pairs], served(), 500)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.short
def test_a_reader_that_never_stops_sees_whole_states_only(record: dict[str, Any], tmp_path: Path) -> None:
    output, path = Path(record["output"]), write(tmp_path / "request.yaml", record)
    code = tmp_path / "reader.py"
    code.write_text(PLAIN_READER)
    scope: dict[str, Any] = {"__name__": "reader"}
    exec(PLAIN_READER, scope)
    mosaic = output / "mosaic.zarr"
    assert run(path).splitlines()
    old = scope["state"](mosaic)
    log = tmp_path / "reads"
    with started([sys.executable, str(code), str(mosaic)], environment(prefect_home()), log, ROOT):
        wait_for(lambda: len(log.read_text().splitlines()) > 3, 60, "the reader reads")
        assert "4 of 4 shards are due" in run(path, "sampling.seed=1")
        new = scope["state"](mosaic)
        count = len(log.read_text().splitlines())
        wait_for(lambda: len(log.read_text().splitlines()) > count + 3, 60, "the reader reads on")
    reads = log.read_text().splitlines()[:-1]
    assert old != new
    assert set(reads) == {old, new}
    assert sorted(reads, key=[old, new].index) == reads
    assert sorted(p.name for p in (output / "versions").iterdir()) == ["1", "2"]
    assert scope["state"](output / "versions/1/mosaic.zarr") == old


@pytest.mark.slow
def test_nothing_due_writes_nothing_and_one_shard_due_writes_one(record: dict[str, Any], tmp_path: Path) -> None:
    """After the test above."""
    output, path = Path(record["output"]), write(tmp_path / "request.yaml", record)
    before = files_below(output / "versions")
    assert "0 of 4 shards are due" in run(path, "sampling.seed=1")
    assert files_below(output / "versions") == before
    assert (output / "current").readlink() == Path("versions/2")
    receipts = str(output / "receipts")
    kept = read_receipts(receipts, "mosaic")
    write_receipt_table(receipts, "mosaic", [kept[job] for job in sorted(kept)[1:]])
    assert "1 of 4 shards are due" in run(path, "sampling.seed=1")
    assert sorted(p.name for p in (output / "versions").iterdir()) == ["2", "3"]
    old, new = (inodes(output / "versions" / n / "mosaic.zarr") for n in "23")
    written = {name for name in old if old[name] != new[name] and not name.endswith("zarr.json")}
    assert set(old) == set(new)
    assert written and all(name.endswith("/0/0") for name in written)
    assert not [name for name in written if name.split("/")[0] == "1"], "the pyramid stays the same"
    two, three = (files_below(output / "versions" / n / "mosaic.zarr") for n in "23")
    assert all(two[name][1] == three[name][1] for name in two if "/c/" in name)
    item = json.loads((output / "item.json").read_text())
    assert item["assets"]["mosaic"]["href"] == "./mosaic.zarr"


def test_a_nightly_run_on_an_object_store_is_refused(record: dict[str, Any]) -> None:
    check_nightly(make_request(record))
    with pytest.raises(RequestError, match="readers of a nightly mosaic would see a run that is half done: give"):
        check_nightly(make_request({**record, "output": "s3://bucket/out"}))
