"""Paths in a request's file are relative to that file; overrides and the shipped region, to the working folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from catalogs.source import SOURCES_FOLDER
from dsdit.errors import RequestError
from flows.plan.make_plan import make_plan
from flows.plan.prepared import prepare
from flows.request.paths import resolve_paths
from flows.request.request import load_request
from tests.conftest import box
from tests.support.commands import ROOT, write_request
from tests.support.running import NOW, sample_record

TLS = {"ca": "tls/ca.pem", "cert": "tls/cert.pem", "key": "/etc/key.pem"}


def flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_every_path_is_joined_and_nothing_else(tmp_path: Path) -> None:
    record = {
        "name": "alps",
        "geojson": "shapes/alps.geojson",
        "land": "../land.geojson",
        "output": "s3://bucket/out",
        "scratch": "scratch",
        "lr": {"source": "own.yaml", "endpoint": "items.json"},
        "ref": {"source": "naip", "endpoint": "https://example.org/api"},
        "model": {"weights": "weights/mine"},
        "compute": {"cluster": "clusters/mine.yaml", "address": "tls://scheduler:8786", "tls": TLS},
        "sample_region": {"folder": "sample"},
    }
    changed = {k: v for k, v in flat(resolve_paths(record, Path("/base"))).items() if flat(record)[k] != v}
    assert changed == {
        "geojson": "/base/shapes/alps.geojson",
        "land": "/land.geojson",
        "scratch": "/base/scratch",
        "lr.source": "/base/own.yaml",
        "lr.endpoint": "/base/items.json",
        "model.weights": "/base/weights/mine",
        "compute.cluster": "/base/clusters/mine.yaml",
        "compute.tls.ca": "/base/tls/ca.pem",
        "compute.tls.cert": "/base/tls/cert.pem",
        "sample_region.folder": "/base/sample",
    }


@pytest.mark.parametrize(
    "record",
    [
        {"lr": {"source": "sample-lr"}, "model": {"weights": "dsdit-tiny"}, "compute": {"cluster": "slurm"}},
        {"lr": {"source": "sentinel-9"}, "compute": {"cluster": "locl"}},
        {"lr": "sample-lr", "geojson": 3, "land": None, "compute": None, "output": ""},
        {"output": "/data/out", "scratch": "file:///data/scratch", "lr": {"endpoint": "http://127.0.0.1:8080"}},
    ],
)
def test_names_urls_absolute_paths_and_wrong_types_stay(record: dict[str, Any]) -> None:
    assert resolve_paths(record, Path("/base")) == record


def test_weights_beside_the_file_come_before_those_that_ship(tmp_path: Path) -> None:
    (tmp_path / "dsdit-tiny").mkdir()
    own = resolve_paths({"model": {"weights": "dsdit-tiny"}}, tmp_path)
    assert own == {"model": {"weights": str(tmp_path / "dsdit-tiny")}}


@pytest.fixture
def project(catalog: Path, weights: Path, tmp_path: Path) -> Path:
    """A folder with a request and all that it names, each beside it; returns the request."""
    folder = tmp_path / "project"
    shutil.copytree(catalog, folder / "catalog")
    shutil.copytree(weights, folder / "mine")
    shutil.copyfile(ROOT / "infra/clusters/local.yaml", folder / "cluster.yaml")
    record = sample_record(Path("catalog"), Path("mine"), Path("out"), box(100, 200, 220, 120), scratch="scratch")
    record["model"]["weights"] = "./mine"
    for kind in ("lr", "ref"):
        shutil.copyfile(SOURCES_FOLDER / f"sample-{kind}.yaml", folder / f"{kind}.yaml")
        record[kind]["source"] = f"{kind}.yaml"
    return write_request(folder / "request.yaml", record | {"compute": {"cluster": "cluster.yaml"}})


@pytest.mark.parametrize("relative", [False, True])
def test_a_plan_is_the_same_from_any_working_folder(
    relative: bool, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.parent)
    here = make_plan(load_request(project.name), NOW)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = os.path.relpath(project) if relative else str(project)
    request = load_request(path)
    plan = make_plan(request, NOW)
    assert plan.digest == here.digest
    assert request.output == str(project.parent / "out")
    assert (project.parent / "out/measures").is_dir() and not list(Path.cwd().iterdir())


def test_overrides_are_relative_to_the_working_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/clear.geojson").write_text(json.dumps({"type": "Point", "coordinates": [12, 48]}))
    request = load_request(str(project), {"output": "out", "land": "clear.geojson", "lr": {"source": "sample-lr"}})
    assert (request.output, request.land, request.lr.source) == ("out", "clear.geojson", "sample-lr")
    assert request.lr.endpoint == str(project.parent / "catalog/items.json"), "keys beside an override stay"
    with pytest.raises(RequestError, match=r"land 'clear\.geojson' holds no polygon"):
        prepare(request)
    assert [path.name for path in Path.cwd().iterdir()] == ["clear.geojson"]


def test_the_shipped_region_is_relative_to_the_working_folder() -> None:
    request = load_request("sample")
    assert (request.geojson, request.output) == ("output/sample-region/region.geojson", "output/sample")
