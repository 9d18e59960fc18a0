"""What `dsdit plan` reports before a night is spent: files that are missing, references that cover nothing, causes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from dsdit.errors import RequestError
from flows.cli.main import app
from flows.request.request import load_request
from tests.conftest import box
from tests.support.commands import write_request
from tests.support.running import sample_record

ONE_SHARD = box(100, 200, 220, 120)


def plan(record: dict[str, Any], folder: Path) -> Result:
    path = write_request(folder / "request.yaml", record)
    return CliRunner(env={"NO_COLOR": "1", "COLUMNS": "400"}).invoke(app, ["plan", str(path)])


def test_a_missing_file_ends_the_plan_with_code_2(catalog: Path, weights: Path, tmp_path: Path) -> None:
    shutil.copytree(catalog, tmp_path / "cat")
    record = sample_record(tmp_path / "cat", weights, tmp_path / "out", ONE_SHARD)
    assert plan(record, tmp_path).exit_code == 0
    for path in (tmp_path / "cat").rglob("*.tif"):
        path.unlink()
    result = plan({**record, "output": str(tmp_path / "other")}, tmp_path)
    assert result.exit_code == 2
    assert "files cannot be read" in result.stderr and "Traceback" not in result.stderr


def test_references_that_cover_nothing_are_a_row_and_a_warning_and_can_be_required(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", ONE_SHARD)
    record["ref"] |= {"max_age_days": 0.001}
    result = plan(record, tmp_path)
    assert result.exit_code == 0
    assert "no reference of sample-ref covers any scene" in result.stderr
    row = next(line for line in result.stdout.splitlines() if "cells with reference" in line)
    assert "0" in row
    record["ref"] |= {"required": True}
    result = plan(record, tmp_path)
    assert result.exit_code == 2 and "ref.required" in result.stderr


def test_no_scene_ends_with_counts_by_reason(catalog: Path, weights: Path, tmp_path: Path) -> None:
    shutil.copytree(catalog, tmp_path / "cat")
    items = json.loads((tmp_path / "cat" / "items.json").read_text())
    for item in items["features"]:
        item["assets"] = {f"other_{key}": asset for key, asset in item["assets"].items()}
    (tmp_path / "cat" / "items.json").write_text(json.dumps(items))
    result = plan(sample_record(tmp_path / "cat", weights, tmp_path / "out", ONE_SHARD), tmp_path)
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert "items were left out" in last.partition("widen the period")[2] and "is missing" in last


def test_a_relative_path_that_is_not_there_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=rf"looked for in {tmp_path}: give an absolute path"):
        load_request("regions/alps.yaml")
    with pytest.raises(RequestError, match=r"a file that can be read: No such file or directory$"):
        load_request(str(tmp_path / "alps.yaml"))
