"""Public names: each door lists exactly these, `dir` shows them, and each can be imported."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

EXPORTS = {
    "catalogs": ["SceneItem", "Source", "known_sources", "load_source", "search_items", "stack"],
    "flows": ["Request", "cost", "load_request", "make_plan", "run_region"],
    "flows.request": ["Request", "load_request", "make_request", "region_names"],
}
"""Public names by package."""
HEAVY = ["torch", "xarray", "pystac", "rasterio", "zarr", "prefect", "dask"]


@pytest.mark.parametrize("package", sorted(EXPORTS))
def test_a_door_lists_exactly_its_public_names(package: str) -> None:
    door = importlib.import_module(package)
    assert sorted(door.__all__) == sorted(dir(door)) == sorted(EXPORTS[package])
    for name in EXPORTS[package]:
        assert getattr(door, name).__name__ == name
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
