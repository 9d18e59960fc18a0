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

from catalogs.item import SceneItem
from catalogs.newest import _same_scene, newest_processing, processed

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


def brute_force(items: list[SceneItem]) -> tuple[list[SceneItem], list[tuple[str, str]]]:
    """All compared with all."""
    kept: list[SceneItem] = []
    replaced = []
    for item in sorted(items, key=processed, reverse=True):
        ground = shape(item.footprint)
        newer = next((o for o in kept if _same_scene(item, ground, o, shape(o.footprint))), None)
        if newer is None:
            kept.append(item)
        else:
            replaced.append((item.id, f"an older processing of {newer.id}"))
    return kept, replaced


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
    expected = brute_force(items)
    assert newest_processing(items) == expected
    mixer.shuffle(items)
    assert newest_processing(items) == expected


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
    kept, replaced = newest_processing([*flights, *passes])
    seconds = time.process_time() - started
    print(f"{len(flights) + len(passes)} scenes in {seconds:.1f} s")
    assert {item.updated for item in kept} == {"2"}
    assert len(kept) == len(replaced) == 20_000
    assert seconds < 60


def test_a_part_of_a_footprint_is_not_the_same_ground() -> None:
    whole = scene("whole", 0, (0, 0, 1, 1), "2")
    part = replace(scene("part", 0, (0, 0, 1, 1), "1"), footprint=mapping(Polygon([(0, 0), (1, 0), (0, 1)])))
    assert newest_processing([whole, part]) == ([whole, part], [])
