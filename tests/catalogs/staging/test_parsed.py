"""How often records are parsed: a STAC record once a search, an item and a source of a plan once a process."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import shapely

import catalogs.footprint
import catalogs.item
from catalogs.choose.reprocessed import newer_processings
from catalogs.item import SceneItem
from catalogs.measure.cover_and_fit import item_window
from catalogs.search.replay import replay_answer, save_answer
from catalogs.search.usable_scenes import search_items
from catalogs.source import Source
from catalogs.staging.stage import Reader, read_scenes
from dsdit.grid import Grid
from dsdit.lattice.tiling import CELL_LR_PX
from dsdit.plan.candidates import CellChoice
from dsdit.window import Window
from tests.catalogs.read.test_scene import write
from tests.catalogs.search.test_search import AREA, END, START, collection
from tests.support.scenes import image_item, image_source, scenes_plan
from tests.support.stac import make_item, make_source

GRID = Grid("EPSG:32632", 1.25, 8)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each function that parses was called since the test began."""
    found: Counter[str] = Counter()

    def count(owner: Any, name: str, label: str) -> None:
        known: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **more: Any) -> Any:
            found[label] += 1
            return known(*args, **more)

        monkeypatch.setattr(owner, name, counted)

    count(pystac.Item, "from_dict", "STAC item")
    count(catalogs.footprint, "shape", "geometry of a record")
    count(catalogs.item, "shape", "geometry of an item")
    count(SceneItem, "from_dict", "item of a plan")
    count(Source, "model_validate", "source of a plan")
    return found


def test_items_and_sources_of_a_plan_are_parsed_once_for_all_jobs_of_a_process(
    tmp_path: Path, calls: Counter[str]
) -> None:
    window = Window(-40, 216, 110, 346)
    profile = {"transform": GRID.lr_geobox(window).affine}
    stored = [np.full((3, *window.shape), 2000 + k, np.uint16) for k in range(3)]
    items = [image_item(write(tmp_path / f"{k}.tif", v, **profile), tmp_path, k) for k, v in enumerate(stored)]
    source = image_source(tmp_path, nodata=0)
    cells = {cell: CellChoice((2, 1, 0)) for cell in window.coarsen(CELL_LR_PX).indices()}
    plan = scenes_plan(source, items, GRID, window, cells, composite="median")
    jobs = [plan.layout.mosaic_jobs[k] for k in range(len(plan.layout.mosaic_jobs))]
    assert len(jobs) > 3
    calls.clear()
    for job in jobs:
        read_scenes(plan, Reader(plan), plan.lattice.shard_window(job).coarsen(8))
    assert calls == {"item of a plan": 3, "geometry of an item": 3, "source of a plan": 1}
    calls.clear()
    again = pickle.loads(pickle.dumps(plan))
    read_scenes(again, Reader(again), window)
    assert not calls, "a plan that a worker receives again finds its items parsed"


def test_a_searched_record_is_parsed_once_with_its_geometry(tmp_path: Path, calls: Counter[str]) -> None:
    records = [make_item(f"{k}", f"2024-06-0{k + 1}T10:00:00Z", grade=k) for k in range(5)]
    (tmp_path / "items.json").write_text(collection(records))
    source = make_source(tmp_path / "items.json", where="grade < 9")
    calls.clear()
    found = search_items(source, AREA, START, END)
    assert len(found.items) == 5
    for item in found.items:
        item_window(item, GRID)
    newer_processings(found.items)
    assert calls == {"STAC item": 5, "geometry of a record": 5}
    calls.clear()
    period = (START, END)
    save_answer(str(tmp_path / "kept"), "lr", source, AREA, period, found)
    assert calls == {"geometry of a record": 5}, "a row of the file has a footprint of its own"
    calls.clear()
    assert replay_answer(str(tmp_path / "kept"), "lr", source, AREA, period) == found
    assert calls == {"STAC item": 5, "geometry of a record": 5}


def test_an_item_travels_whole_and_builds_its_geometry_once(calls: Counter[str]) -> None:
    first = catalogs.item.scene_item(pystac.Item.from_dict(make_item("a")), make_source())
    assert first.geometry.normalize() == shapely.box(10.0, 48.0, 10.5, 48.4).normalize()
    calls.clear()
    for item in (pickle.loads(pickle.dumps(first)), SceneItem.from_dict(json.loads(json.dumps(first.to_dict())))):
        assert item == first and hash(item) == hash(first)
        assert item.to_dict() == first.to_dict()
        for _ in range(3):
            assert item.geometry == first.geometry
    assert calls == {"item of a plan": 1, "geometry of an item": 2}
