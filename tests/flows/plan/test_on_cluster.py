"""Many measures are taken on the run's cluster: the same plan and records, and unreadable files are reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.plan.make_plan import make_plan
from flows.plan.on_cluster import measuring_on_cluster
from flows.plan.prepared import prepare
from flows.request.request import make_request
from tests.conftest import box
from tests.support.displaced import displaced
from tests.support.running import NOW, sample_record

WHOLE = box(100.0, 340.0, 420.0, 100.0)


def records_of(output: Path) -> dict[str, Any]:
    folder = output / "measures"
    return {p.relative_to(folder).as_posix(): json.loads(p.read_text()) for p in folder.rglob("*.json")}


def planned(sample: Path, weights: Path, output: Path, spread: bool) -> tuple[str, list[str]]:
    """Digest of the plan, and what was logged."""
    record = sample_record(sample, weights, output, WHOLE)
    record["lr"]["balance"] = True
    prepared, lines = prepare(make_request(record)), list[str]()
    if not spread:
        return make_plan(prepared, NOW, lines.append).digest, lines
    with measuring_on_cluster(prepared, lines.append) as made:
        return make_plan(prepared, NOW, lines.append, made).digest, lines


def test_measured_on_workers_is_measured_here(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = displaced(catalog, tmp_path / "sample", 3.0, -2.5)
    here, _ = planned(sample, weights, tmp_path / "here", spread=False)
    monkeypatch.setattr("catalogs.measure.cache.SPREAD_FROM", 1)
    monkeypatch.setattr("catalogs.measure.cache._BLOCK", 2)
    there, lines = planned(sample, weights, tmp_path / "there", spread=True)
    assert lines.count("measure: many are missing: they are taken on the cluster") == 1
    assert there == here
    assert records_of(tmp_path / "there") == records_of(tmp_path / "here")
    again, lines = planned(sample, weights, tmp_path / "there", spread=True)
    assert again == here and not [line for line in lines if "cluster" in line], "all is cached"


def test_what_a_worker_cannot_read_is_reported_as_it_is_here(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = tmp_path / "sample"
    shutil.copytree(catalog, sample)
    broken = sorted((sample / "sample-ref").rglob("*.tif"))[0]
    broken.write_bytes(broken.read_bytes()[:2000])
    here, logged_here = planned(sample, weights, tmp_path / "here", spread=False)
    monkeypatch.setattr("catalogs.measure.cache.SPREAD_FROM", 1)
    there, logged_there = planned(sample, weights, tmp_path / "there", spread=True)
    assert there == here
    unread = [line for line in logged_here if line.startswith("measure: ")]
    assert unread and broken.parent.name in unread[0]
    assert [line for line in logged_there if line.startswith("measure: ") and "cluster" not in line] == unread


def test_few_are_measured_here(catalog: Path, weights: Path, tmp_path: Path) -> None:
    _, lines = planned(catalog, weights, tmp_path / "out", spread=True)
    assert not [line for line in lines if "cluster" in line]
