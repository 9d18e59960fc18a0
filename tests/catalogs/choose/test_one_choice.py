"""One place, one choice, from the search on: a region and its part take the same items for the same cell."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pystac
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box, shape

from catalogs.choose.cells import Dates, MeasuredCovers, choose_cells, sort_items
from catalogs.item import SceneItem
from catalogs.measure.cover_and_fit import Cover, rows_of
from catalogs.search.usable_scenes import clean
from dsdit.window import Index, Window
from tests.catalogs.search.test_search import END, START
from tests.support.stac import make_item, make_source

WHOLE, PART = Window(0, 0, 2, 10), Window(0, 9, 2, 10)
CELL_DEG = 0.05
LR, REF = make_source("https://catalog.example"), make_source("https://catalog.example", name="other")


def ground(window: Window) -> tuple[float, float, float, float]:
    """West, south, east, north of cells."""
    west, north = 10 + CELL_DEG * window.col0, 48 - CELL_DEG * window.row0
    return west, north - CELL_DEG * window.shape[0], west + CELL_DEG * window.shape[1], north


def covers_of(item: SceneItem, cells: Window) -> dict[Index, Cover]:
    """What measuring finds: each item is clear over a share of its own."""
    outline, clear = shape(item.footprint), (int(item.digest[:4], 16) % 5) / 4
    found = {}
    for cell in cells.indices():
        square = box(*ground(Window(*cell, cell.row + 1, cell.col + 1)))
        share = round(outline.intersection(square).area / square.area, 4)
        if share > 0:
            found[cell] = Cover(share, share * clear)
    return found


def choose(answers: list[list[dict[str, Any]]], region: Window) -> dict[Index, tuple[tuple[str, ...], ...]]:
    """Ids of scenes and references of each cell of a region, as a run finds them."""
    kinds = [
        clean(map(pystac.Item.from_dict, answer), source, box(*ground(region)).buffer(-1e-9), START, END).items
        for answer, source in zip(answers, (LR, REF), strict=True)
    ]
    items, lr, _ = sort_items(*kinds)
    covers = MeasuredCovers.of({n: rows_of(covers_of(item, region)) for n, item in enumerate(items)})
    cells = choose_cells(Dates.of_items(items), len(lr), covers, region, "latest_clear", 9.0)
    return {
        cell: (tuple(items[n].id for n in choice.lr), tuple(items[n].id for n in choice.ref))
        for cell, choice in cells.items()
    }


@st.composite
def catalogs(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Scenes and references, many of them processed several times with edges of their own, some under one id."""
    kinds = []
    for kind in ("lr", "ref"):
        made = []
        for number in range(draw(st.integers(0, 4))):
            day, tile = draw(st.integers(1, 5)), draw(st.sampled_from([None, "MGRS-32UPU"]))
            west, reach = draw(st.integers(0, 4)), draw(st.integers(3, 10))
            for version in range(draw(st.integers(1, 3))):
                right = draw(st.sampled_from([0.0, -0.4, -1.0, -1.5, 0.5]))
                bounds = ground(Window(0, west, 2, west + reach))
                bounds = bounds[0], bounds[1], bounds[2] + right * CELL_DEG, bounds[3]
                name = f"{kind}-{number}" + draw(st.sampled_from(["", f"-v{version}"]))
                updated = f"2024-06-{10 + draw(st.integers(0, 3)):02}T00:00:00Z"
                more = {} if tile is None else {"grid__code": tile}
                platform = draw(st.sampled_from(["sentinel-2a", None]))
                when = f"2024-06-{day:02}T10:00:{draw(st.sampled_from([0, 15])):02}Z"
                made.append(make_item(name, when, bounds, updated=updated, platform=platform, **more))
        kinds.append(draw(st.permutations(made)))
    return kinds


@settings(max_examples=40)
@given(catalogs())
def test_a_region_and_its_part_choose_the_same_from_the_search_on(answers: list[list[dict[str, Any]]]) -> None:
    whole = choose(answers, WHOLE)
    for part in (PART, Window(1, 3, 2, 6)):
        assert choose(answers, part) == {cell: choice for cell, choice in whole.items() if cell in part}


def test_an_older_processing_stays_where_the_newer_does_not_reach() -> None:
    tile: dict[str, Any] = {"grid__code": "MGRS-32UPU"}
    old = make_item("old", bounds=ground(Window(0, 0, 2, 10)), updated="2024-06-02T00:00:00Z", **tile)
    new = make_item("new", bounds=ground(Window(0, 0, 2, 9)), updated="2024-06-09T00:00:00Z", **tile)
    (item,) = clean([pystac.Item.from_dict(new)], LR, box(*ground(WHOLE)), START, END).items
    assert item.updated == "2024-06-09T00:00:00Z"
    for region in (WHOLE, Window(0, 7, 2, 10), PART):
        found = choose([[old, new], []], region)
        assert {cell: lr for cell, (lr, _) in found.items()} == {
            cell: ("old",) if cell.col == 9 else ("new",) for cell in region.indices()
        }
    west, south, east, north = ground(Window(0, 0, 2, 9))
    new |= make_item("new", bounds=(west, south, east - CELL_DEG / 4, north), updated="2024-06-09T00:00:00Z", **tile)
    other = make_item("other", "2024-06-20T10:00:00Z", ground(WHOLE), updated="2024-06-21T00:00:00Z")
    found = choose([[old, new, other], []], WHOLE)
    assert found[Index(0, 8)][0][-1] == "old", "it fills, behind all others"
    assert "old" not in found[Index(0, 7)][0]


def test_references_processed_again_are_no_second_reference() -> None:
    flown = [make_item(f"v{k}", bounds=ground(WHOLE), updated=f"2024-06-1{k}T00:00:00Z") for k in range(4)]
    scene = make_item("scene", bounds=ground(WHOLE))
    assert choose([[scene], flown], PART)[Index(0, 9)] == (("scene",), ("v3",))


def test_no_pair_has_the_same_item_twice() -> None:
    (item,) = clean([pystac.Item.from_dict(make_item("a"))] * 2, LR, box(9, 47, 12, 49), START, END).items
    later = replace(item, when=item.when + timedelta(seconds=1), updated="2024-07-01T00:00:00Z", digest="b", tile=None)
    assert len(Dates.of_items([item, item]).newer) == 0
    assert Dates.of_items([item, later]).newer.tolist() == [[0, 1]], "of one id, though the time is another"


def test_two_records_of_the_same_files_lie_wherever_either_says() -> None:
    wide = make_item("a", bounds=ground(Window(0, 0, 2, 10)))
    narrow = make_item("a", bounds=ground(Window(0, 0, 2, 5)))
    for answer in ([wide, narrow], [narrow, wide]):
        assert choose([answer, []], PART) == dict.fromkeys(PART.indices(), (("a",), ()))
        assert set(choose([answer, []], WHOLE)) == set(WHOLE.indices())
