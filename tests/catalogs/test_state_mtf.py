"""A measured MTF is written into a source's file once, and nothing else of the file changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from typer.testing import CliRunner

from catalogs.source import load_source
from catalogs.state_mtf import state_mtf
from dsdit.errors import RequestError
from dsdit.imaging.mtf import MtfEstimate
from dsdit.imaging.sensor import decimate
from flows.cli.main import app
from flows.plan.mtf_notes import mtf_text
from tests.support.stac import make_item, make_source
from tests.support.texture import texture


def own_source(folder: Path, **changes: object) -> Path:
    record = make_source(**changes).model_dump(mode="json")
    path = folder / "own.yaml"
    path.write_text("# mine\n" + yaml.safe_dump(record))
    return path


def test_one_line_of_the_file_changes(tmp_path: Path) -> None:
    path = own_source(tmp_path)
    before = path.read_text().splitlines()
    assert state_mtf(path, 0.41) == path
    after = path.read_text().splitlines()
    assert [b for a, b in zip(before, after, strict=True) if a != b] == ["mtf_nyquist: 0.41"]
    assert load_source(path).mtf_nyquist == 0.41


def test_a_file_that_states_none_gets_a_line(tmp_path: Path) -> None:
    path = own_source(tmp_path)
    path.write_text("".join(line for line in path.open() if not line.startswith("mtf_nyquist")))
    state_mtf(path, 0.41)
    assert path.read_text().endswith("\nmtf_nyquist: 0.41\n") and load_source(path).mtf_nyquist == 0.41


def test_a_source_that_ships_and_a_file_in_another_form_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="sample-lr ships with the package and is not changed: copy it"):
        state_mtf("sample-lr", 0.4)
    path = own_source(tmp_path)
    path.write_text(text := yaml.safe_dump(yaml.safe_load(path.read_text()), default_flow_style=True))
    with pytest.raises(RequestError, match=r"write `mtf_nyquist: 0.4` into it yourself"):
        state_mtf(path, 0.4)
    assert path.read_text() == text


def test_stated_and_measured_in_words() -> None:
    measured = MtfEstimate(0.6, 0.5, 0.6366, 9, "reference")
    assert mtf_text(0.55, measured) == "states 0.550; measured 0.600 (0.500 to 0.637) against references"
    warning = mtf_text(0.255, measured)
    assert warning.startswith("beware: states 0.255, measured 0.600") and "write `mtf_nyquist: 0.6`" in warning
    assert "not measured" in mtf_text(0.255, None)


def test_check_measures_and_writes(tmp_path: Path) -> None:
    lr = decimate(0.3 + 0.05 * texture(0, 2048)[0], 8, 0.63)
    for band in ("red", "green", "blue", "scl"):
        values = np.full(lr.shape, 4, np.uint8) if band == "scl" else np.rint(lr * 1e4 + 1000).astype(np.uint16)
        (tmp_path / "one").mkdir(exist_ok=True)
        size = {"count": 1, "height": values.shape[0], "width": values.shape[1], "crs": "EPSG:32632"}
        place = Affine(10, 0, 500_000, 0, -10, 5_340_000)
        with rasterio.open(
            tmp_path / "one" / f"{band}.tif", "w", driver="GTiff", dtype=values.dtype, transform=place, **size
        ) as file:
            file.write(values[None])
    item = make_item("one", host=".", bounds=(9.0, 48.18, 9.03, 48.21))
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    path = own_source(tmp_path, endpoint=str(tmp_path / "items.json"), hosts=[])
    found = CliRunner().invoke(app, ["sources", "check", str(path)], env={"COLUMNS": "200"})
    assert found.exit_code == 0, found.output
    assert "beware: states 0.255, measured 0.6" in " ".join(found.output.split())
    assert load_source(path).mtf_nyquist == pytest.approx(0.2546, abs=1e-3)
    assert CliRunner().invoke(app, ["sources", "check", str(path), "--write"]).exit_code == 0
    assert load_source(path).mtf_nyquist > 0.5
    again = CliRunner().invoke(app, ["sources", "check", str(path)], env={"COLUMNS": "200"})
    assert "beware" not in again.output and "states 0.6" in again.output
