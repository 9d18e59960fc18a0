"""Public names: each door lists exactly these, `dir` shows them, and each can be imported."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

EXPORTS = {
    "dsdit": ["Grid", "Plan", "Region", "evaluate", "mosaic_versions", "open_mosaic", "super_resolve"],
    "dsdit.evaluation": ["Case", "Rows", "evaluate", "make_case"],
    "dsdit.model": [
        "Conditions",
        "DSDiT",
        "DSDiTConfig",
        "Denoised",
        "PixelCodec",
        "TinyModel",
        "Weights",
        "WeightsConfig",
        "WeightsHeader",
        "load_weights",
        "read_header",
        "save_weights",
    ],
    "dsdit.sampling": [
        "SOLVERS",
        "autoguidance",
        "block_noise",
        "guided",
        "noise_window",
        "published_sigmas",
        "sample",
        "sigmas_of",
        "spaced_sigmas",
    ],
    "dsdit.training": ["TrainingConfig", "read_training_config", "train"],
    "catalogs": ["SceneItem", "Source", "known_sources", "load_source", "search_items", "stack"],
    "flows": ["Request", "cost", "load_request", "make_plan", "run_region"],
    "flows.request": ["Request", "load_request", "make_request", "region_names"],
}
"""Public names by package."""
VALUES = ["Rows", "SOLVERS"]
"""Public names that are neither classes nor functions."""
HEAVY = ["torch", "xarray", "pystac", "rasterio", "zarr", "prefect", "dask"]


@pytest.mark.parametrize("package", sorted(EXPORTS))
def test_a_door_lists_exactly_its_public_names(package: str) -> None:
    door = importlib.import_module(package)
    assert sorted(door.__all__) == sorted(dir(door)) == sorted(EXPORTS[package])
    for name in EXPORTS[package]:
        value = getattr(door, name)
        assert getattr(value, "__name__", name) == name or name in VALUES
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = door.nothing_of_ours


@pytest.mark.parametrize("package", sorted(EXPORTS))
def test_a_door_loads_nothing_heavy(package: str) -> None:
    code = f"import sys, {package}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_types_are_shipped() -> None:
    for package in ("catalogs", "flows"):
        assert (Path(importlib.import_module(package).__file__ or "").parent / "py.typed").is_file()
