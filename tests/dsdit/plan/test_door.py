"""`dsdit.plan` and `dsdit.receipts` list exactly the names that people import, and load nothing before one is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

NAMES = {
    "dsdit.plan": {
        "CellChoice", "Cells", "Correction", "Fit", "Fits", "Items", "ModelChoice", "Plan", "Registration",
        "SamplerSettings", "latest_plan", "read_plan", "write_plan",
    },
    "dsdit.receipts": {
        "Receipt", "compact_receipts", "damaged_receipts", "done_jobs", "iterate_receipts", "join_receipts",
        "list_receipts", "new_receipts", "read_receipt", "read_receipts", "receipt_object", "remove_receipts",
        "write_receipt", "write_receipt_table",
    },
}  # fmt: skip


@pytest.mark.parametrize("door", NAMES)
def test_a_door_lists_its_names_and_each_can_be_imported(door: str) -> None:
    module = importlib.import_module(door)
    assert set(module.__all__) == set(dir(module)) == NAMES[door]
    for name in NAMES[door]:
        assert getattr(module, name).__module__.startswith(f"{door}.")


@pytest.mark.parametrize("door", NAMES)
def test_a_door_loads_no_library(door: str) -> None:
    code = f"import sys, {door}; assert not {{'numpy', 'shapely', 'pyarrow', 'torch'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
