"""The notebook runs from a clean kernel on a small mosaic, and draws what it promises."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from dsdit.mosaic.version import Kind
from dsdit.steps.publish.publish import publish
from tests.conftest import box
from tests.support.published import publish_copy
from tests.support.running import NOW, run_here, sample_record

NOTEBOOK = Path(__file__).parents[2] / "infra" / "notebooks" / "explore.ipynb"
FIGURES = 5
"""The region, how much the reference steered, a closer look, the two settings, pixels by status."""


def publish_small(catalog: Path, weights: Path, output: Path, keep_reference: bool = True) -> str:
    """A published mosaic of 400 x 320 m, oblong on purpose; returns its location."""
    record = sample_record(catalog, weights, output, box(80, 400, 480, 80), keep_reference=keep_reference)
    ran = run_here({**record, "sampling": {"steps": 1, "batch": 4}})
    return publish(ran.plan, str(output), ran.report, NOW)["mosaic"]


def execute(mosaic: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    monkeypatch.setenv("DSDIT_MOSAIC", mosaic)
    monkeypatch.delenv("DSDIT_PLACE", raising=False)
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("DSDIT_PICTURE", str(folder / "closer.jpg"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    book = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(book, timeout=240, kernel_name="python3", resources=resources).execute()


def outputs(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in book.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize(
    "keep_reference", [pytest.param(True, marks=pytest.mark.short), pytest.param(False, marks=pytest.mark.slow)]
)
def test_notebook_draws(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_reference: bool
) -> None:
    mosaic = publish_small(catalog, weights, tmp_path / "out", keep_reference)
    shown = outputs(execute(mosaic, tmp_path, monkeypatch))
    assert not [output for output in shown if output.output_type == "error"]
    figures = [output.data["image/png"] for output in shown if "image/png" in output.get("data", {})]
    assert len(figures) == FIGURES
    assert all(len(png) > 5000 for png in figures)
    text = "".join(output.text for output in shown if output.output_type == "stream" and output.name == "stdout")
    assert "EPSG:32632 at 1.25 m" in text
    assert "256 x 320 pixels of SR, 32 x 40 of LR" in text
    assert (tmp_path / "closer.jpg").stat().st_size > 5000


@pytest.mark.parametrize(
    "kind", [pytest.param("zarr", marks=pytest.mark.slow), pytest.param("icechunk", marks=pytest.mark.slow)]
)
def test_notebook_opens_an_older_version(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    record = sample_record(catalog, weights, tmp_path / "plain", box(80, 400, 480, 80))
    ran = run_here({**record, "sampling": {"steps": 1, "batch": 4}})
    for lighter in (0, 250):
        mosaic = publish_copy(ran, tmp_path / "out", kind, lighter)
    shown = outputs(execute(mosaic, tmp_path, monkeypatch))
    figures = [output.data["image/png"] for output in shown if "image/png" in output.get("data", {})]
    assert len(figures) == FIGURES + 1
    text = "".join(output.text for output in shown if output.output_type == "stream" and output.name == "stdout")
    assert "versions kept: 1, 2" in text
    assert "100.0% of the pixels differ from version 1" in text


def test_notebook_is_kept_without_outputs() -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    assert not outputs(book)
    assert all(cell.execution_count is None for cell in book.cells if cell.cell_type == "code")
