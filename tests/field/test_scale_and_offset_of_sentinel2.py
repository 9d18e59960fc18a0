"""Sentinel-2 items of tools that copy a file's defaults, of other units, and of odd flags and baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogs.item import SceneItem
from catalogs.read.scene import read_bands
from catalogs.source import Source
from tests.support.field import catalog_of, found_in, geobox, item_of, write_tif
from tests.support.stac import ASSETS, make_source

GROUND = np.random.default_rng(1).uniform(0.02, 0.4, (64, 64))


def scene(
    folder: Path, entries: list[dict[str, Any]] | None = None, **properties: Any
) -> tuple[SceneItem, Source, tuple[str, ...]]:
    """One scene whose pixels hold the offset of baseline 04.00, its source, and the notes of the search."""
    record = item_of(assets=ASSETS, **properties)
    for key in ASSETS[:3]:
        write_tif(folder / f"{key}.tif", np.round((GROUND + 0.1) * 1e4).astype("uint16"))
        if entries is not None:
            record["assets"][key]["raster:bands"] = entries
    write_tif(folder / "scl.tif", np.full((64, 64), 4, "uint8"))
    source = make_source(catalog_of(folder, record))
    found = found_in(source)
    assert not found.dropped
    return found.items[0], source, found.notes


@pytest.mark.parametrize(
    ("entries", "note"),
    [
        (
            [{"scale": 1.0, "offset": 0.0}],
            "states scale 1, which is not from 1e-05 to 0.001",
        ),  # as rio-stac writes them
        ([{"scale": 1e-4, "offset": -1000}], "states offset -1000"),
        ([{"scale": 1e-4, "offset": 0.1}], "states offset 0.1"),
        ([{"scale": 10000, "offset": 0}], "states scale 10000"),
        ([{"scale": -1e-4, "offset": -0.1}], "states scale -0.0001"),
        ([{"scale": 0, "offset": 0}], "states scale 0"),
        ([{"scale": 1e-4, "offset": 0}, {"scale": 1e-4, "offset": -0.1}], "2 different scales and offsets"),
    ],
)
def test_implausible_values_give_way_to_the_baseline(tmp_path: Path, entries: list[dict[str, Any]], note: str) -> None:
    item, source, notes = scene(tmp_path, entries)
    values, valid = read_bands(item, source, geobox(), "nearest")
    assert valid.all() and np.abs(values - GROUND).max() < 1e-4
    assert len(notes) == 3 and all(note in line and "the processing baseline decides" in line for line in notes)


def test_plausible_values_come_before_the_baseline(tmp_path: Path) -> None:
    item, _, notes = scene(tmp_path, [{"scale": 1e-4, "offset": -0.1}], s2__processing_baseline="03.01")
    assert item.offset == (-0.1,) * 3 and notes == ()


def test_values_of_tools_without_any_baseline_leave_the_item_out(tmp_path: Path) -> None:
    record = item_of(assets=ASSETS, s2__processing_baseline=None)
    for key in ASSETS:
        record["assets"][key]["raster:bands"] = [{"scale": 1.0, "offset": 0.0}]
    found = found_in(make_source(catalog_of(tmp_path, record)))
    assert not found.items
    cause = "it states scale 1, which is not from 1e-05 to 0.001"
    assert found.dropped == (("a", f"it states neither an offset nor a processing baseline; {cause}"),)


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [
        ("0301", 0.0), ("N0301", 0.0), ("03.01", 0.0), (3.01, 0.0), (301, 0.0), ("2.14", 0.0), ("0214", 0.0),
        ("0400", -0.1), ("N0511", -0.1), ("05.11", -0.1), ("04.00.1", -0.1), (4, -0.1), (5.1, -0.1), (510, -0.1),
        ("10.00", -0.1), ("1000", -0.1),
    ],
)  # fmt: skip
def test_a_baseline_in_any_spelling(tmp_path: Path, baseline: object, offset: float) -> None:
    item, _, notes = scene(tmp_path, s2__processing_baseline=baseline)
    assert item.offset == (offset,) * 3 and notes == ()


def test_a_baseline_that_is_none_gives_way_to_the_next_one(tmp_path: Path) -> None:
    item, _, notes = scene(tmp_path, s2__processing_baseline="latest", processing__version="03.01")
    assert item.offset == (0.0,) * 3
    assert notes == ("item a: s2:processing_baseline is 'latest', no processing baseline: left out",)


@pytest.mark.parametrize("flag", [True, "true", "True", 1, "1", "yes"])
def test_a_flag_that_the_offset_was_removed_may_be_text(tmp_path: Path, flag: object) -> None:
    assert scene(tmp_path, earthsearch__boa_offset_applied=flag)[0].offset == (0.0,) * 3


@pytest.mark.parametrize("flag", [False, "false", "False", 0, "0", "no"])
def test_a_flag_that_the_offset_is_there_may_be_text(tmp_path: Path, flag: object) -> None:
    assert scene(tmp_path, earthsearch__boa_offset_applied=flag)[0].offset == (-0.1,) * 3


def test_a_flag_that_is_none_is_reported(tmp_path: Path) -> None:
    item, _, notes = scene(tmp_path, s2__boa_offset_applied="perhaps")
    assert item.offset == (-0.1,) * 3
    assert notes == ("item a: s2:boa_offset_applied is 'perhaps', neither true nor false: left out",)
