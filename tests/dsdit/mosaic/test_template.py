"""The template of a mosaic: an existing one is used where it fits the plan, and refused where it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import zarr

from dsdit.errors import StoreError
from dsdit.mosaic.mosaic_arrays import shard_specs
from dsdit.mosaic.template import create_mosaic
from dsdit.window import Window
from tests.support.shards import plan_of

SHARDS = Window(-1, 2, 1, 5)


def test_every_array_of_the_descriptions_is_created_and_no_other(tmp_path: Path) -> None:
    plan = replace(plan_of(shards=SHARDS), keep_reference=True)
    create_mosaic(plan, str(tmp_path))
    root = zarr.open_group(str(tmp_path), mode="r")
    found = {array.path for name in ("0", "lr", "ref") for _, array in root[name].arrays() if array.ndim >= 2}
    assert found == {spec.path for spec in shard_specs(plan)} and len(found) == 9


def test_a_mosaic_of_other_bands_is_refused(tmp_path: Path) -> None:
    plan = plan_of(shards=SHARDS)
    create_mosaic(plan, str(tmp_path))
    create_mosaic(plan, str(tmp_path))
    with pytest.raises(StoreError, match="has bands red, green, blue where this run writes nir, red, green"):
        create_mosaic(replace(plan, bands=("nir", "red", "green")), str(tmp_path))
    with pytest.raises(StoreError, match="has another shape"):
        create_mosaic(replace(plan, bands=("red", "green", "blue", "nir")), str(tmp_path))


def test_a_mosaic_of_another_place_is_refused(tmp_path: Path) -> None:
    create_mosaic(plan_of(shards=SHARDS), str(tmp_path))
    with pytest.raises(StoreError, match="covers another place"):
        create_mosaic(plan_of(shards=Window(-1, 3, 1, 6)), str(tmp_path))
