"""How many candidates a cell keeps: enough that no ground is left which an item shows, and few where one shows all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from catalogs.choose.candidates import MAX_SCENES
from catalogs.choose.ranking import CLEAR_ENOUGH
from dsdit.plan.candidates import FEW_CANDIDATES, MAX_CANDIDATES, CellChoice, Cells
from dsdit.window import Index, Window
from tests.benchmarks.continent import SQUARE, make_catalogs
from tests.benchmarks.plan_at_size import plan_of
from tests.catalogs.choose.test_choosing import (
    EPOCH,
    RULES,
    Candidate,
    choose_references,
    choose_scenes,
    clouded,
    passes,
)


def quads(shares: list[float], years: list[int]) -> list[Candidate]:
    """Quads side by side under one cell, flown in several years."""
    places = [(year, share) for year in years for share in shares]
    return [
        Candidate(n, f"{n:02}", EPOCH - timedelta(days=365 * year), share, share)
        for n, (year, share) in enumerate(places)
    ]


def test_a_corner_of_quads_has_one_of_each_though_they_were_flown_again() -> None:
    corner = [0.88, 0.04, 0.04, 0.04]
    found = quads(corner, [1, 3])
    assert set(choose_references(found, EPOCH, None)) == set(range(8))
    six = quads([1 / 6] * 6, [1, 3])
    assert set(choose_references(six, EPOCH, None)) == set(range(12))
    thrice = quads(corner, [1, 3, 5, 7])
    assert {0, 1, 2, 3} <= set(choose_references(thrice, EPOCH, None))
    assert len(choose_references(thrice, EPOCH, None)) == MAX_CANDIDATES


def test_under_a_quad_that_reaches_over_the_cell_few_are_kept() -> None:
    found = quads([1.0], list(range(9)))
    assert choose_references(found, EPOCH, None) == tuple(range(FEW_CANDIDATES))
    behind = [*quads([0.6], list(range(6))), Candidate(6, "06", EPOCH - timedelta(days=9000), 1.0, 1.0)]
    assert choose_references(behind, EPOCH, None) == (6, 0, 1, 2), "the whole one stands before them"


def test_another_day_fills_what_four_tiles_of_a_pass_do_not_reach() -> None:
    tiles = [Candidate(n, f"{n}", EPOCH + timedelta(days=9, seconds=7 * n), 0.6, 0.6, "a") for n in range(4)]
    other = Candidate(4, "4", EPOCH, 1.0, 0.55, "a")
    for rule in ("latest_clear", "least_cloudy", "median_clear"):
        assert choose_scenes([*tiles, other], rule)[4:] == (4,)
    swaths = [Candidate(n, f"{n}", EPOCH + timedelta(days=n), 0.6, 0.6, "a") for n in range(6)]
    far = Candidate(6, "6", EPOCH - timedelta(days=1), 0.45, 0.45, "b")
    assert 6 in choose_scenes([*swaths, far], "latest_clear")


def test_a_cloudier_scene_of_the_best_overpass_is_ranked_behind_a_clearer_day() -> None:
    lead = Candidate(0, "0", EPOCH + timedelta(days=5), 0.9, 0.9, "a")
    day = Candidate(1, "1", EPOCH, 1.0, 0.8, "a")
    mate = Candidate(2, "2", lead.when + timedelta(seconds=15), 1.0, 0.1, "a")
    assert choose_scenes([lead, day, mate], "latest_clear") == (0, 1, 2)
    sliver = replace(mate, cover=0.1)
    assert choose_scenes([lead, day, sliver], "latest_clear") == (0, 2, 1), "all that it shows is clear"


@given(passes(), RULES, st.floats(0.01, 1), st.floats(0.1, 1), st.integers(0, 8))
def test_adding_a_worse_scene_changes_nothing_whichever_pass_it_is_of(
    found: list[Candidate], rule: str, share: float, cover: float, minutes: int
) -> None:
    """Nothing before it, that is; what it shows clearly on ground that its pass has left it may fill before others."""
    before = choose_scenes(found, rule)
    assume(before and len(found) + 1 <= MAX_SCENES)
    worst = min((c for c in found if c.item in before), key=lambda c: c.clear)
    mate = next(c for c in found if c.item == before[minutes % len(before)])
    clear = max(0.0, min(worst.clear, CLEAR_ENOUGH) * share - 0.002)
    worse = replace(mate, item=99, digest="zzzz", cover=max(clear, cover), clear=clear)
    assume(round(worse.clear, 3) < round(worst.clear, 3))
    after = choose_scenes([*found, worse], rule)
    kept = tuple(n for n in after if n != 99)
    assert kept == before[: len(kept)]
    assert len(kept) >= min(len(before), FEW_CANDIDATES - 1)
    lead = next((c for n in before if (c := found[n]).platform == worse.platform and near(c, worse)), None)
    if lead is None or worse.platform is None or clouded(worse, lead) or lead.cover >= 0.999:
        assert after[: len(before)] == before


def near(a: Candidate, b: Candidate) -> bool:
    return abs(a.when - b.when) < timedelta(hours=1)


@given(st.integers(0, MAX_CANDIDATES), st.integers(0, MAX_CANDIDATES), st.integers(0, MAX_CANDIDATES))
def test_tables_are_as_wide_as_their_fullest_cell(a: int, b: int, c: int) -> None:
    choices = {
        Index(3, 5): CellChoice(tuple(range(a)), tuple(range(b))),
        Index(4, 7): CellChoice((1,), tuple(range(c))),
    }
    cells = Cells.of(choices)
    assert cells.lr.shape[2] == max(FEW_CANDIDATES, a)
    assert cells.ref.shape[2] == max(FEW_CANDIDATES, b, c)
    again = Cells.from_columns(cells.columns())
    assert dict(again) == dict(cells) == {k: v for k, v in choices.items() if v.lr or v.ref}
    lr, ref = cells.part(cells.window.expand(1))
    assert lr.shape == ref.shape == (4, 5, MAX_CANDIDATES)
    np.testing.assert_array_equal(lr[2, 3, :2], [1, -1])
    pairs = {(r, s) for choice in choices.values() for r in choice.ref for s in choice.lr}
    assert len(cells.pairs()) == len(pairs)


def test_a_cells_digest_does_not_depend_on_how_many_candidates_another_one_has() -> None:
    """Cells with up to four references, to eight, to twelve; one that gets another candidate is another."""
    catalogs = make_catalogs(SQUARE, 60, 400)
    plan = plan_of(catalogs, SQUARE)
    window = plan.cells.window
    part = Window(window.row0, window.col0, window.row0 + 3, window.col1)
    few = plan.cells.ref[:3, :, :FEW_CANDIDATES]
    wide = np.full((*few.shape[:2], MAX_CANDIDATES), -1, np.int32)
    wide[..., :FEW_CANDIDATES] = few
    for row, width in ((1, 8), (2, 11)):
        wide[row, :, :width] = np.arange(100, 100 + width)

    def digests(ref: NDArray[np.int32]) -> NDArray[np.uint8]:
        return replace(plan, cells=Cells(window, plan.cells.lr, ref)).cell_digests(part)

    narrow, found = digests(few), digests(wide)
    np.testing.assert_array_equal(narrow[0], found[0])
    assert (narrow[1:] != found[1:]).any(-1).all()
    wide[2, 5, 11], wide[1, 4, 8] = 7, 7
    assert np.argwhere((digests(wide) != found).any(-1)).tolist() == [[1, 4], [2, 5]]


def test_a_window_without_another_is_the_rest_of_it_once() -> None:
    for other in (
        Window(1, 1, 3, 4),
        Window(-2, -2, 9, 2),
        Window(0, 3, 5, 9),
        Window(7, 7, 8, 8),
        Window(-1, -1, 6, 7),
    ):
        whole = Window(0, 0, 5, 6)
        parts = [tuple(index) for part in whole.without(other) for index in part.indices()]
        assert sorted(parts) == sorted({tuple(i) for i in whole.indices()} - {tuple(i) for i in other.indices()})
