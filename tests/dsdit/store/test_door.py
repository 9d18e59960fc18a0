"""The doors of stores and mosaics list exactly their names, and load nothing before a name is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

NAMES = {
    "dsdit.store": {
        "ArraySpec", "arrays_of", "check_writable", "create_array", "filesystem", "forget_arrays", "is_remote", "join",
        "list_names", "modified_at", "open_group", "read_block", "read_bytes", "read_json", "read_window", "remove",
        "remove_object", "write_bytes", "write_file", "write_json", "write_shard",
    },
    "dsdit.mosaic": {"Version", "mosaic_store", "mosaic_versions", "open_mosaic"},
}  # fmt: skip


@pytest.mark.parametrize("door", NAMES)
def test_a_door_lists_its_names_and_each_can_be_imported(door: str) -> None:
    module = importlib.import_module(door)
    assert set(module.__all__) == set(dir(module)) == NAMES[door]
    for name in NAMES[door]:
        assert getattr(module, name).__module__.startswith(f"{door}.")


@pytest.mark.parametrize("door", NAMES)
def test_a_door_loads_no_heavy_library(door: str) -> None:
    code = f"import sys, {door}; assert not {{'zarr', 'fsspec', 'xarray', 'icechunk', 'torch'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
