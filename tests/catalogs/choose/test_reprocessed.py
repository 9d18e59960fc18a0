"""Reprocessed duplicates: what is found among few candidates is what comparing all with all finds."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon, box, mapping, shape

from catalogs.choose.reprocessed import MAX_NEWER, _same_scene, newer_processings, processed
from catalogs.item import SceneItem

START = datetime(2024, 6, 1, tzinfo=UTC)


def scene(
    name: str, minutes: float, bounds: tuple[float, float, float, float], updated: str | None, tile: str | None = None
) -> SceneItem:
    """A scene of a box, so many minutes after `START`."""
    ground = box(*bounds)
    return SceneItem(
        source="s", id=name, collection=None, when=START + timedelta(minutes=minutes), footprint=mapping(ground),
        bbox=ground.bounds, hrefs={}, scale=(1.0,) * 3, offset=(0.0,) * 3, crs=None, cloud_cover=None, gsd_m=None,
        updated=updated, platform=None, tile=tile, digest=name,
    )  # fmt: skip


def brute_force(items: list[SceneItem]) -> list[list[int]]:
    """All compared with all."""
    pairs = []
    for n, item in enumerate(items):
        ground = shape(item.footprint)
        newer = [k for k, other in enumerate(items) if processed(other) > processed(item)]
        newer.sort(key=lambda k: processed(items[k]), reverse=True)
        same = [k for k in newer if _same_scene(item, ground, items[k], shape(items[k].footprint))]
        pairs.extend([n, k] for k in same[:MAX_NEWER])
    return sorted(pairs)


EDGES = st.sampled_from([0.0, 0.001, 0.05, 0.25, -0.25, 0.2])
PLACES = st.tuples(st.sampled_from([0.0, 10.0, 179.8, -180.0]), st.sampled_from([0.0, 48.0]), EDGES, EDGES)
SIDES = st.sampled_from([0.0, 0.06, 0.25, 1.0, 30.0])


@st.composite
def scenes(draw: st.DrawFn) -> list[SceneItem]:
    """Scenes of a few times, places, tiles, satellites and versions, many of them the same."""
    made = []
    for number in range(draw(st.integers(0, 25))):
        west, south, right, up = draw(PLACES)
        side = draw(SIDES)
        bounds = (west + right, south + up, west + right + side, south + up + side)
        minutes = draw(st.sampled_from([0.0, 0.0, 4.0, 9.99, 10.0, 10.01, 20.0, -3.0]))
        tile, updated = draw(st.sampled_from([None, None, "A", "B"])), draw(st.sampled_from([None, "1", "2", "3"]))
        item = scene(f"{number:02}", minutes, bounds, updated, tile)
        made.append(
            replace(item, platform=draw(st.sampled_from(["a", "a", "b"])), crs=draw(st.sampled_from(["x", "y"])))
        )
    return made


@given(scenes(), st.randoms(use_true_random=False))
def test_few_candidates_give_what_all_with_all_gives(items: list[SceneItem], mixer: random.Random) -> None:
    assert newer_processings(items).tolist() == brute_force(items)
    mixer.shuffle(items)
    assert newer_processings(items).tolist() == brute_force(items)


@pytest.mark.slow
def test_a_continent_of_scenes_takes_seconds() -> None:
    flights = [
        scene(
            f"f{k}-{v}", k % 3 * 1440, (k % 300 / 16, k // 300 / 16, k % 300 / 16 + 0.0625, k // 300 / 16 + 0.0625), v
        )
        for k in range(10_000)
        for v in "12"
    ]
    passes = [
        scene(f"p{k}-{v}", k // 50 * 1440, (k % 50, 0, k % 50 + 1, 1), v, f"T{k % 50}")
        for k in range(10_000)
        for v in "12"
    ]
    started = time.process_time()
    items = [*flights, *passes]
    older, newer = newer_processings(items).T.tolist()
    seconds = time.process_time() - started
    print(f"{len(items)} scenes in {seconds:.1f} s")
    assert {items[n].updated for n in newer} == {"2"} and {items[n].updated for n in older} == {"1"}
    assert len(set(older)) == len(set(newer)) == len(older) == 20_000
    assert seconds < 60


def test_a_part_of_a_footprint_is_not_the_same_ground() -> None:
    whole = scene("whole", 0, (0, 0, 1, 1), "2")
    part = replace(scene("part", 0, (0, 0, 1, 1), "1"), footprint=mapping(Polygon([(0, 0), (1, 0), (0, 1)])))
    assert newer_processings([whole, part]).tolist() == []


def test_a_scene_processed_without_end_is_compared_with_few() -> None:
    items = [scene(f"{k:04}", 0, (0, 0, 1, 1), f"{k:04}", "A") for k in range(300)]
    older, newer = newer_processings(items).T.tolist()
    assert older.count(0) == MAX_NEWER and set(newer[:MAX_NEWER]) == set(range(300 - MAX_NEWER, 300))
