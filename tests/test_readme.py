"""The README keeps its word: its Python runs, its request is valid, its links, targets and commands exist."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from catalogs.source import load_source
from flows.cli.main import app
from flows.request.request import Request, make_request, region_names
from flows.request.settings import Compute, ModelSettings, Period, References, Sampling, Scenes, Tiling
from tests.flows.test_notebook import publish_small

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def code() -> str:
    """Shell blocks, and what stands between backticks in the text."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks("sh"), *re.findall(r"`([^`]+)`", prose)])


def test_python_of_the_readme_runs(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = blocks("python")
    assert len(text.splitlines()) <= 8
    publish_small(catalog, weights, tmp_path / "output" / "sample")
    monkeypatch.chdir(tmp_path)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(text, "README.md", "exec"), {})  # its names in a place of their own
    assert "EPSG:32632 (1.25, -1.25)" in shown.getvalue()
    assert "{'band': 3, 'y': 160, 'x': 160}" in shown.getvalue()
    import rasterio

    with rasterio.open(tmp_path / "part.tif") as file:
        assert (file.crs.to_epsg(), file.shape) == (32632, (160, 160))
        assert tuple(file.bounds) == (720100.0, 5321700.0, 720300.0, 5321900.0)


def test_request_of_the_readme_is_valid() -> None:
    (text,) = blocks("yaml")
    request = make_request(yaml.safe_load(text))
    assert request.ref is not None
    assert (load_source(request.lr.source).role, load_source(request.ref.source).role) == ("lr", "ref")
    height, width = request.region().window.shape
    assert height > 2000 and width > 2000


def test_request_of_the_readme_names_every_key() -> None:
    (text,) = blocks("yaml")
    left_out = {"sample_region", "endpoint"}
    models: list[type[BaseModel]] = [Request, Scenes, References, ModelSettings, Sampling, Tiling, Compute, Period]
    for name in {name for model in models for name in model.model_fields} - left_out:
        assert re.search(rf"\b{name}:", text), name


def test_links_of_the_readme_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in link]
    assert len(links) > 15
    for link in links:
        assert (ROOT / link.split("#")[0]).exists(), link


def test_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", code()))
    assert {"run", "test", "serve", "lint", "mutants"} <= named <= targets, named - targets


def test_commands_of_the_readme_exist() -> None:
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    commands |= {group.name for group in app.registered_groups if group.name}
    named = set(re.findall(r"\bdsdit ([a-z][a-z-]+)", code()))
    assert {"run", "plan", "status"} <= named <= commands, named - commands


def test_deployments_of_the_readme_exist() -> None:
    record = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())
    known = {f"sr-region/{deployment['name']}" for deployment in record["deployments"]}
    assert set(re.findall(r"sr-region/[a-z-]+", README)) == known
    assert set(re.findall(r"region=(\w+)", README)) <= set(region_names())


def test_sources_of_the_readme_are_those_that_ship() -> None:
    shipped = {path.stem for path in (ROOT / "catalogs" / "sources").glob("*.yaml")}
    (line,) = re.findall(r"Sources that ship: (.*?); see", README, re.DOTALL)
    assert set(re.findall(r"`([a-z0-9-]+)`", line)) == shipped
