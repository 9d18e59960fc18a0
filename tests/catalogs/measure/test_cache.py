"""Pairs are measured several at once with the same outcome, and cached records are checked."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from rasterio.warp import transform_geom
from shapely.geometry import mapping

from catalogs.item import SceneItem
from catalogs.measure import cover_and_fit
from catalogs.measure.cache import MEASURING_THREADS, OnError, Pair, side_by_side
from catalogs.measure.cover_and_fit import Cover, cached_covers, item_window
from catalogs.source import Source
from dsdit.errors import ReadError, StoreError
from dsdit.grid import Grid
from dsdit.lattice.tiling import CELL_LR_PX
from dsdit.plan.plan import Plan
from dsdit.window import Index, Window
from flows.plan.make_plan import make_plan
from flows.request.request import make_request
from tests.catalogs.read.test_scene import ORIGIN, UTM, scene, write
from tests.conftest import box
from tests.support.displaced import displaced
from tests.support.running import NOW, sample_record

WHOLE = box(100.0, 340.0, 420.0, 100.0)


def plan_of(folder: Path, weights: Path, output: Path) -> Plan:
    record = sample_record(folder, weights, output, WHOLE)
    record["lr"]["balance"] = True
    return make_plan(make_request(record), NOW, lambda _: None)


def kept(output: Path) -> dict[str, bytes]:
    folder = output / "measures"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.json")}


def test_pairs_are_measured_at_once_and_reported_in_their_order() -> None:
    together = threading.Barrier(MEASURING_THREADS)
    caller = threading.get_ident()
    turns = {k: threading.Event() for k in range(MEASURING_THREADS + 1)}
    turns[MEASURING_THREADS].set()
    reported: list[tuple[str, bool]] = []

    def measure(pair: Pair, on_error: OnError) -> int:
        ref, lr = pair
        together.wait(60)
        place = ref % MEASURING_THREADS
        if ref < MEASURING_THREADS:
            assert turns[place + 1].wait(60), "the last is done first"
        if ref % 2:
            on_error(ReadError(f"pair {ref}"))
        turns[place].set()
        return ref * lr

    pairs: list[Pair] = [(k, 10 + k) for k in range(40 * MEASURING_THREADS)]
    found = side_by_side(pairs, measure, lambda e: reported.append((str(e), threading.get_ident() == caller)))
    assert list(found.items()) == [((a, b), a * b) for a, b in pairs]
    assert reported == [(f"pair {a}", True) for a, _ in pairs if a % 2]


def test_an_error_of_another_kind_ends_the_measuring() -> None:
    begun: list[int] = []

    def measure(pair: Pair, on_error: OnError) -> int:
        begun.append(pair[0])
        raise StoreError("no room")

    with pytest.raises(StoreError, match="no room"):
        side_by_side([(k, k) for k in range(10_000)], measure, lambda _: None)
    assert len(begun) < 200


def test_measured_at_once_is_measured_one_after_another(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = displaced(catalog, tmp_path / "sample", 3.0, -2.5)
    several = plan_of(folder, weights, tmp_path / "several")
    monkeypatch.setattr("catalogs.measure.cache.MEASURING_THREADS", 1)
    alone = plan_of(folder, weights, tmp_path / "alone")
    assert several.digest == alone.digest
    assert kept(tmp_path / "several") == kept(tmp_path / "alone")
    assert {name.split("/")[0] for name in kept(tmp_path / "alone")} == {"cover", "fit", "mtf", "shift"}


@pytest.fixture(scope="module")
def measured(
    catalog: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("measured")
    sample, output = displaced(catalog, folder / "sample", 3.0, -2.5), folder / "output"
    plan_of(sample, weights, output)
    return sample, weights, output, kept(output)


def without(key: str) -> Any:
    return lambda record: {name: value for name, value in record.items() if name != key}


BROKEN = {
    "fit without its own": ("fit", without("fit")),
    "fit of two bands": ("fit", lambda r: {**r, "fit": {**r["fit"], "gain": [1.0, 1.0]}}),
    "fit of words": ("fit", lambda r: {**r, "fit": {**r["fit"], "offset": ["a", "b", "c"]}}),
    "fit that is infinite": ("fit", lambda r: {**r, "fit": {**r["fit"], "gain": [1.0, float("inf"), 1.0]}}),
    "no record": ("fit", lambda _: [1, 2]),
    "shift of unknown words": ("shift", lambda r: {**r, "shift": {**r["shift"], "more": 1}}),
    "shift of nothing": ("shift", lambda r: {**r, "shift": None}),
    "shift that is no number": ("shift", lambda r: {**r, "shift": {**r["shift"], "dy": float("nan")}}),
    "cover without cells": ("cover", without("cells")),
    "cover of short cells": ("cover", lambda r: {**r, "cells": [[0, 0, 1.0]]}),
    "cover of a short window": ("cover", lambda r: {**r, "seen": [0, 0]}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_record_that_is_no_measure_is_an_error_with_the_way_out(
    case: str, measured: tuple[Path, Path, Path, dict[str, bytes]]
) -> None:
    kind, change = BROKEN[case]
    sample, weights, output, whole = measured
    name = min(name for name in whole if name.startswith(kind))
    path = output / "measures" / name
    path.write_text(json.dumps(change(json.loads(whole[name]))))
    with pytest.raises(StoreError, match=rf"{name} is no measure of {kind} .*: remove it, and it is measured again"):
        plan_of(sample, weights, output)
    path.unlink()
    plan_of(sample, weights, output)
    assert kept(output) == whole


def covers_of(item: SceneItem, source: Source, grid: Grid, cells: Window, folder: str) -> dict[Index, Cover]:
    rows = cached_covers([(item, source)], grid, cells, folder, pytest.fail)[0]
    assert rows is not None
    return {Index(row, col): Cover(cover, clear) for row, col, cover, clear in rows.tolist()}


def test_a_region_that_grows_is_measured_where_it_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "catalog", str(tmp_path / "measures")
    folder.mkdir()
    write(folder / "a.tif", np.full((3, 1400, 1400), 100, np.uint16), ORIGIN, nodata=0)
    item, source = scene(folder, "a.tif", nodata=0)
    lonlat = transform_geom(UTM, "EPSG:4326", mapping(shapely.box(500_000, 5_286_000, 514_000, 5_300_000)))
    item = replace(item, footprint=lonlat)
    grid = Grid(UTM, 1.25, 8)
    first = item_window(item, grid).coarsen(CELL_LR_PX).corner
    read: list[tuple[int, int]] = []
    own = cover_and_fit.measure_cover

    def counted(*requested: Any) -> dict[Index, Cover]:
        read.extend(tuple(index) for index in requested[-1].indices())
        return own(*requested)

    monkeypatch.setattr(cover_and_fit, "measure_cover", counted)
    windows = [(0, 0, 3, 3), (0, 2, 3, 5), (1, 1, 2, 4), (2, 2, 5, 5), (0, 0, 5, 5), (0, 0, 5, 5)]
    new = [9, 6, 0, 6, 4, 0]
    for (row0, col0, row1, col1), expected in zip(windows, new, strict=True):
        cells = Window(first[0] + row0, first[1] + col0, first[0] + row1, first[1] + col1)
        read.clear()
        found = covers_of(item, source, grid, cells, out)
        assert len(read) == expected
        assert found == own(item, source, grid, cells)
        assert found
    (path,) = (tmp_path / "measures" / "cover").iterdir()
    record = json.loads(path.read_text())
    record["seen"] = [*first, first[0] + 5, first[1] + 5]
    path.write_text(json.dumps(record))
    read.clear()
    assert covers_of(item, source, grid, cells, out) == found
    assert not read, "one window is how it used to be kept"
