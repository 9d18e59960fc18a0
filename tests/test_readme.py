"""The README is short, its Python runs and gives float32, its request is valid; the page on mosaics is complete."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from catalogs.source import load_source
from flows.request.request import make_request, region_names
from tests.flows.test_notebook import publish_small
from tests.test_docs import TEXTS, blocks, code

README = TEXTS["README.md"]


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_readme_says_that_the_sample_region_is_synthetic() -> None:
    assert "synthetic" in README.partition("```python")[0]


def test_python_of_the_readme_runs(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = blocks(README, "python")
    assert len(text.splitlines()) <= 8
    publish_small(catalog, weights, tmp_path / "output" / "sample")
    monkeypatch.chdir(tmp_path)
    shown, names = io.StringIO(), dict[str, object]()
    with contextlib.redirect_stdout(shown):
        exec(compile(text, "README.md", "exec"), names)  # its names in a place of their own
    assert "EPSG:32632 (1.25, -1.25) float32" in shown.getvalue()
    assert "{'band': 3, 'y': 160, 'x': 160}" in shown.getvalue()
    import rasterio
    import xarray as xr

    sr = names["sr"]
    assert isinstance(sr, xr.DataArray)
    assert sr.chunks is not None and sr.compute().dtype == np.float32
    with rasterio.open(tmp_path / "part.tif") as file:
        assert (file.crs.to_epsg(), file.shape, file.dtypes) == (32632, (160, 160), ("float32",) * 3)
        assert tuple(file.bounds) == (720100.0, 5321700.0, 720300.0, 5321900.0)


def test_python_of_the_page_on_mosaics_runs(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = blocks(TEXTS["infra/docs/mosaic.md"], "python")
    publish_small(catalog, weights, tmp_path / "output" / "sample")
    monkeypatch.chdir(tmp_path)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(text, "mosaic.md", "exec"), {})
    assert "EPSG:32632 (1.25, -1.25)" in shown.getvalue()


def test_page_on_python_runs_and_lists_every_public_name(
    catalog: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = TEXTS["infra/docs/python.md"]
    for package in ("dsdit", "catalogs", "flows"):
        names = set(importlib.import_module(package).__all__)
        assert names and names <= set(re.findall(r"`(\w+)`", page)), package
    (text,) = blocks(page, "python")
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "sample-region").symlink_to(catalog)
    monkeypatch.chdir(tmp_path)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(text, "python.md", "exec"), {})
    assert "'band': 3, 'y': 20, 'x': 20} float32" in shown.getvalue()


def test_page_on_mosaics_names_every_layer(catalog: Path, weights: Path, tmp_path: Path) -> None:
    import dsdit

    publish_small(catalog, weights, tmp_path)
    tree = dsdit.open_mosaic(str(tmp_path))
    page = TEXTS["infra/docs/mosaic.md"]
    for group in ("0", "lr", "ref"):
        assert f"`{group}`" in page
        for name, array in tree[group].to_dataset().data_vars.items():
            assert re.search(rf"`{name}`", page), name
            stored = array.encoding["dtype"]
            assert array.ndim < 2 or re.search(rf"`{name}`.*\| {stored} \|", page), (name, stored)
    for attribute in tree.attrs:
        assert f"`{attribute}`" in page or attribute.startswith(("spatial:", "proj:", "multiscales")), attribute


def test_request_of_the_readme_is_valid() -> None:
    (text,) = blocks(README, "yaml")
    assert len(text.splitlines()) <= 12
    request = make_request(yaml.safe_load(text))
    assert request.ref is not None
    assert (load_source(request.lr.source).role, load_source(request.ref.source).role) == ("lr", "ref")
    height, width = request.region().window.shape
    assert height > 2000 and width > 2000


def test_readme_and_pages_name_what_is_asked_of_them() -> None:
    assert {"run", "plan", "status"} <= set(re.findall(r"\bdsdit ([a-z][a-z-]+)", code(README)))
    assert {"run", "test", "lint"} <= set(re.findall(r"\bmake ([a-z]+)", code(README)))
    everything = "\n".join(TEXTS.values())
    assert set(re.findall(r"region=(\w+)", everything)) <= set(region_names())
    for number in ("0", "2", "3"):
        assert re.search(rf"^\| {number} \|", TEXTS["infra/docs/nightly.md"], re.MULTILINE)
