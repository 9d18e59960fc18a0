"""A plan on disk is the plan that was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsdit.bands import BANDS
from dsdit.plan.files import read_plan, write_plan
from dsdit.store.objects import read_json, write_json
from tests.dsdit.plan.made_up import made_up_plan


@pytest.mark.parametrize("bands", [BANDS, ("red", "green", "blue", "nir")])
def test_a_plan_file_holds_its_bands(bands: tuple[str, ...], tmp_path: Path) -> None:
    plan = made_up_plan(bands=bands)
    url = write_plan(plan, str(tmp_path))
    record = read_json(url)
    assert record is not None and record["bands"] == list(bands)
    back = read_plan(url)
    assert back.bands == bands
    assert back.digest == plan.digest


def test_a_plan_file_without_bands_is_one_of_red_green_and_blue(tmp_path: Path) -> None:
    plan = made_up_plan()
    url = write_plan(plan, str(tmp_path))
    record = read_json(url)
    assert record is not None
    del record["bands"]
    write_json(url, record)
    back = read_plan(url)
    assert back.bands == BANDS
    assert back.digest == plan.digest
