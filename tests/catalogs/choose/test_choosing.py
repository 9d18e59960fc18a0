"""Choosing, as properties: order, worse scenes and the outline change nothing, and nothing is without a reason."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from catalogs.choose import ranking
from catalogs.choose.candidates import MAX_SCENES, CoverTable
from catalogs.choose.cells import Dates, MeasuredCovers, choose_cells, sort_items
from catalogs.choose.ranking import CLEAR_ENOUGH
from catalogs.choose.reference_score import alike, coarseness_us, score_us
from catalogs.item import SceneItem
from catalogs.measure.cover_and_fit import Cover, rows_of
from dsdit.plan.candidates import FEW_CANDIDATES, CellChoice, Cells
from dsdit.window import Index, Window

DAY_US = 86_400_000_000
EPOCH = datetime(2024, 6, 1, tzinfo=UTC)
RULES = st.sampled_from(sorted(ranking.COMPOSITES))
SHARES = st.one_of(st.sampled_from([0.0, 0.5, CLEAR_ENOUGH, 1.0]), st.floats(0.001, 1))


@dataclass(frozen=True)
class Candidate:
    """An item seen from one cell."""

    item: int
    digest: str
    when: datetime
    cover: float
    clear: float
    platform: str | None = None


def microseconds(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def columns(found: list[Candidate], *more: tuple[datetime, str]) -> tuple[CoverTable, Dates]:
    """One cell's candidates as columns; items are numbered as they stand, and `more` of them follow."""
    seen = CoverTable(
        np.zeros(len(found), np.int64),
        np.arange(len(found), dtype=np.int32),
        np.array([c.cover for c in found], np.float32),
        np.array([c.clear for c in found], np.float32),
    )
    table = [(c.when, c.digest) for c in found] + list(more)
    when = np.array([microseconds(w) for w, _ in table], np.int64)
    platforms = [c.platform for c in found] + [None] * len(more)
    return seen, Dates.of(when, np.array([d for _, d in table], str), platforms)


def choose_scenes(found: list[Candidate], rule: str, carried: Collection[int] = ()) -> tuple[int, ...]:
    """Items of `found`, best first."""
    if not found:
        return ()
    seen, dates = columns(found)
    old = np.isin([c.item for c in found], list(carried))
    chosen = ranking.choose_scenes(seen, 1, dates.newest_first, rule, dates.overpasses, old)[0]
    return tuple(found[n].item for n in chosen.tolist() if n >= 0)


def choose_references(found: list[Candidate], when: datetime, limit: float | None) -> tuple[int, ...]:
    """Items of `found` as references of a scene of `when`, best first."""
    if not found:
        return ()
    seen, dates = columns(found, (when, "scene"))
    scene = np.array([len(found)], np.int32)
    chosen = ranking.choose_references(seen, 1, dates.when_us, dates.newest_first, scene, limit)[0]
    return tuple(found[n].item for n in chosen.tolist() if n >= 0)


@st.composite
def candidates(draw: st.DrawFn, least: int = 0) -> list[Candidate]:
    """Scenes over one cell, some at the same time, some alike but for their digest; shares that differ in float32."""
    made = []
    for number in range(draw(st.integers(least, 9))):
        cover = round(draw(SHARES), 4)
        when = EPOCH + timedelta(days=draw(st.integers(0, 6)))
        made.append(Candidate(number, f"{number * 7919 % 9973:04}", when, cover, round(cover * draw(SHARES), 4)))
    return made


@given(candidates(), RULES, st.randoms(use_true_random=False))
def test_the_order_of_the_answer_does_not_matter(found: list[Candidate], rule: str, mixer: random.Random) -> None:
    mixed = list(found)
    mixer.shuffle(mixed)
    assert choose_scenes(mixed, rule) == choose_scenes(found, rule)
    assert choose_references(mixed, EPOCH, 4.0) == choose_references(found, EPOCH, 4.0)


@given(candidates(1), RULES, st.floats(0.01, 1), st.integers(0, 3))
def test_adding_a_worse_scene_changes_nothing(found: list[Candidate], rule: str, share: float, days: int) -> None:
    before = choose_scenes(found, rule)
    assume(before)
    worst = min((c for c in found if c.item in before), key=lambda c: c.clear)
    oldest = min(c.when for c in found)
    clear = max(0.0, min(worst.clear, CLEAR_ENOUGH) * share - 0.002)
    worse = Candidate(99, "zzzz", oldest - timedelta(days=days), max(clear, 0.001), clear)
    assume(round(worse.clear, 3) < round(worst.clear, 3))
    after = choose_scenes([*found, worse], rule)
    assert after[: len(before)] == before
    assert set(after) - set(before) <= {99}


@given(candidates(1), st.floats(0, CLEAR_ENOUGH - 1e-4), st.integers(0, 40), RULES)
def test_a_newer_cloudier_scene_never_replaces_a_clear_one(
    found: list[Candidate], clear: float, days: int, rule: str
) -> None:
    first = choose_scenes(found, rule)
    assume(first and found[first[0]].clear >= CLEAR_ENOUGH)
    newer = Candidate(99, "0000", EPOCH + timedelta(days=7 + days), 1.0, clear)
    after = choose_scenes([*found, newer], rule)
    clear_ones = [n for n in first if found[n].clear >= CLEAR_ENOUGH]
    assert list(after[: len(clear_ones)]) == clear_ones


@given(candidates(), RULES)
def test_a_choice_is_bounded_and_holds_no_scene_without_data(found: list[Candidate], rule: str) -> None:
    chosen = choose_scenes(found, rule)
    usable = {c.item for c in found if c.cover > 0}
    assert set(chosen) <= usable
    assert len(chosen) == len(set(chosen)) <= MAX_SCENES
    whole = [found[n].cover >= 0.999 for n in chosen]
    assert len(chosen) == len(usable) or len(chosen) >= FEW_CANDIDATES
    assert len(chosen) == len(usable) or any(whole[:FEW_CANDIDATES]) or whole[-1] or len(chosen) == MAX_SCENES
    assert not any(whole[:-1][FEW_CANDIDATES - 1 :]), "behind a whole one nothing is kept but a few in reserve"


@st.composite
def passes(draw: st.DrawFn) -> list[Candidate]:
    """Scenes of two satellites, some of them tiles of one pass within minutes."""
    found = draw(candidates(1))
    minutes = st.integers(0, 9)
    satellites = st.sampled_from(["a", "b", None])
    return [replace(c, platform=draw(satellites), when=c.when + timedelta(minutes=draw(minutes))) for c in found]


def pass_of(candidate: Candidate) -> tuple[object, ...]:
    """Days of `passes` lie apart, minutes do not."""
    return (candidate.platform, candidate.when.date()) if candidate.platform else (candidate.item,)


@given(passes(), RULES, st.randoms(use_true_random=False))
def test_scenes_of_one_overpass_follow_each_other_at_the_rank_of_the_best(
    found: list[Candidate], rule: str, mixer: random.Random
) -> None:
    chosen = [found[n] for n in choose_scenes(found, rule)]
    mixed = list(found)
    mixer.shuffle(mixed)
    assert [c.item for c in chosen] == list(choose_scenes(mixed, rule))
    heads = {pass_of(c): c for c in reversed(chosen)}
    kinds = [(*pass_of(c), c.item if clouded(c, heads[pass_of(c)]) else None) for c in chosen]
    whole = {k for k, c in zip(kinds, chosen, strict=True) if c.cover >= 0.999 and c is heads[pass_of(c)]}
    needed = [k for n, k in enumerate(kinds) if not (k in whole and k in kinds[:n])]
    assert kinds[: len(needed)] == needed, "a scene behind one that reaches over the whole cell comes last of all"
    runs = [k for n, k in enumerate(needed) if n == 0 or needed[n - 1] != k]
    assert len(runs) == len(set(runs)), "a pass is torn apart"
    leads = [next(c for c, kind in zip(chosen, kinds, strict=True) if kind == k) for k in runs]
    alone = [replace(c, platform=None) for c in leads]
    order = [alone[n] for n in matching_order(alone, rule)]
    assert order == alone[: len(order)], "passes stand as the best of each would alone"


def clouded(mate: Candidate, lead: Candidate) -> bool:
    """Whether a scene stands for itself though a better one of its pass does not reach over the whole cell."""
    shares = [round(float(np.float32(c.clear) / np.float32(c.cover)) * 1000) for c in (mate, lead)]
    return lead.cover < 0.999 and shares[0] < min(shares[1], 1000 * CLEAR_ENOUGH)


def matching_order(found: list[Candidate], rule: str) -> list[int]:
    numbered = [replace(c, item=n) for n, c in enumerate(found)]
    return list(choose_scenes(numbered, rule))


def test_tiles_of_one_pass_do_not_push_other_days_out() -> None:
    pass_ = [Candidate(n, f"{n}", EPOCH + timedelta(days=9, seconds=7 * n), 1.0, 0.6, "a") for n in range(4)]
    others = [Candidate(4 + n, f"{4 + n}", EPOCH + timedelta(days=n), 1.0, 0.55, "a") for n in range(6)]
    assert choose_scenes(pass_ + others, "latest_clear") == (3, 9, 8, 7)
    parts = [replace(c, cover=0.7) for c in pass_]
    assert choose_scenes(parts + others, "latest_clear") == (3, 2, 1, 0, 9, 8, 7)
    halves = [replace(c, cover=0.8) for c in others]
    assert choose_scenes(parts + halves, "latest_clear") == (3, 2, 1, 0, 9, 8, 7, 6)
    halves[3] = others[3]
    assert choose_scenes(parts + halves, "latest_clear") == (3, 2, 1, 0, 9, 8, 7)


def test_carried_scenes_count_where_the_period_has_nothing_clear() -> None:
    """Last night's was clear in the west; tonight's is in the east, and leads by a little."""
    west = Candidate(0, "w", EPOCH, 1.0, 0.55)
    east = Candidate(1, "e", EPOCH + timedelta(days=20), 1.0, 0.6)
    assert choose_scenes([west, east], "latest_clear", {0}) == (1, 0)
    clear = replace(east, clear=1.0)
    assert choose_scenes([west, clear], "latest_clear", {0}) == (1,)
    assert choose_scenes([replace(west, clear=1.0), east], "latest_clear", {0}) == (0, 1)


YEAR = 365.2425
AGES = st.one_of(st.sampled_from([0.0, YEAR / 2, YEAR, 2 * YEAR]), st.floats(0, 3000))


@given(AGES, SHARES, SHARES, st.floats(0.1, 30))
def test_a_score_is_age_season_cover_cloud_and_pixel_in_days(
    age: float, cover: float, part: float, gsd_m: float
) -> None:
    us = np.array([round(age * DAY_US)], np.int64)
    shares = np.array([cover], np.float32), np.array([cover * part], np.float32)
    found = score_us(us, *shares, coarseness_us([gsd_m], 1.25))[0] / DAY_US
    season = min(age % YEAR, YEAR - age % YEAR)
    unseen = 1000 * (1 - float(shares[0][0])) + 2000 * float(shares[0][0] - shares[1][0])
    coarse = 365 * max(0.0, np.log2(gsd_m / 1.25))
    assert abs(found - (age + 2 * season + unseen + coarse)) < 0.51
    assert score_us(-us, *shares, np.zeros(1, np.int64)) == score_us(us, *shares, np.zeros(1, np.int64))


@given(candidates(), st.integers(0, 6), st.one_of(st.none(), st.floats(0, 5)))
def test_references_are_within_their_age_and_full_ones_first_then_by_score(
    found: list[Candidate], day: int, limit: float | None
) -> None:
    when = EPOCH + timedelta(days=day)
    chosen = [found[n] for n in choose_references(found, when, limit)]
    assert all(limit is None or abs((c.when - when).total_seconds()) / 86400 <= limit for c in chosen)
    assert all(c.clear > 0 for c in chosen)
    ranks = [(c.clear < CLEAR_ENOUGH, step(c, when), -microseconds(c.when), c.digest) for c in chosen]
    assert ranks == sorted(ranks)


def step(candidate: Candidate, when: datetime) -> int:
    age = np.array([microseconds(when) - microseconds(candidate.when)], np.int64)
    shares = np.array([candidate.cover], np.float32), np.array([candidate.clear], np.float32)
    return int(alike(score_us(age, *shares, np.zeros(1, np.int64)))[0])


@given(candidates(1), st.floats(0, 1), st.integers(0, 700))
def test_adding_a_worse_reference_changes_nothing(found: list[Candidate], share: float, days: int) -> None:
    before = choose_references(found, EPOCH, None)
    assume(before)
    worst = min((c for c in found if c.item in before), key=lambda c: c.clear)
    long_ago = EPOCH - timedelta(days=5000 + days)
    worse = Candidate(99, "zzzz", long_ago, worst.clear * share, worst.clear * share)
    after = choose_references([*found, worse], EPOCH, None)
    assert after[: len(before)] == before
    assert set(after) - set(before) <= {99}


def test_last_summer_is_ranked_before_last_winter_and_a_coarse_pixel_behind_an_older_fine_one() -> None:
    scene = datetime(2024, 7, 1, tzinfo=UTC)
    winter = Candidate(0, "a", datetime(2024, 1, 10, tzinfo=UTC), 1.0, 1.0)
    summer = Candidate(1, "b", datetime(2023, 7, 5, tzinfo=UTC), 1.0, 1.0)
    older = Candidate(2, "c", datetime(2022, 7, 5, tzinfo=UTC), 1.0, 1.0)
    assert choose_references([winter, summer, older], scene, None) == (1, 0, 2)
    seen, dates = columns([summer, older], (scene, "scene"))
    coarse = coarseness_us([5.0, 1.25, 10.0], 1.25)
    first = np.array([2], np.int32)
    chosen = ranking.choose_references(seen, 1, dates.when_us, dates.newest_first, first, None, coarse)[0]
    assert chosen.tolist()[:2] == [1, 0]


def flights() -> tuple[CoverTable, Dates, NDArray[np.int32], NDArray[np.bool_]]:
    """48 x 48 cells under two flights two years apart, in quads of 3 x 3 cells, a sixth of which the newer one lacks.

    Scenes lie in stripes of 6 columns, at days around the middle between the flights. Returns what is seen, dates, the
    scene of each cell, and where both flights are seen.
    """
    rng, side = np.random.default_rng(5), 48
    rows, cols = np.divmod(np.arange(side * side), side)
    quad = rows // 3 * (side // 3) + cols // 3
    quads = int(quad.max()) + 1
    middle = datetime(2022, 6, 20, tzinfo=UTC)
    old, new = (rng.integers(-35, 35, quads) + years * YEAR for years in (-1, 1))
    stripes = rng.integers(-25, 25, side // 6)
    days = np.concatenate([old, new, stripes])
    when = microseconds(middle) + np.rint(days * DAY_US).astype(np.int64)
    dates = Dates.of(when, np.array([f"{k:05}" for k in range(len(when))]))
    both = rng.random(quads) > 1 / 6
    cells = np.concatenate([np.arange(side * side), np.arange(side * side)[both[quad]]])
    items = np.concatenate([quad, (quad + quads)[both[quad]]]).astype(np.int32)
    ones = np.ones(len(cells), np.float32)
    return CoverTable(cells, items, ones, ones), dates, (2 * quads + cols // 6).astype(np.int32), both[quad]


def test_fewer_tiles_straddle_flights_of_unlike_years_than_by_the_nearest_date() -> None:
    seen, dates, scene, both = flights()
    side, quads = 48, 256
    age = np.abs(dates.when_us[scene[seen.cell]] - dates.when_us[seen.item])
    nearest = seen.item[np.lexsort((age, seen.cell))[np.searchsorted(np.sort(seen.cell), np.arange(side * side))]]
    chosen = ranking.choose_references(seen, side * side, dates.when_us, dates.newest_first, scene)[:, 0]
    straddling = []
    for first in (nearest, chosen):
        newer, choice = (first >= quads).reshape(side, side), both.reshape(side, side)
        apart = [newer[1:] != newer[:-1], newer[:, 1:] != newer[:, :-1]]
        free = [choice[1:] & choice[:-1], choice[:, 1:] & choice[:, :-1]]
        straddling.append(
            (sum(int(a.sum()) for a in apart), sum(int((a & f).sum()) for a, f in zip(apart, free, strict=True)))
        )
    print(
        f"borders of cells between unlike years, all and with a choice on both sides, by nearest date and by score: "
        f"{straddling[0]}, {straddling[1]}, of {2 * side * (side - 1)}"
    )
    assert straddling[1][0] < 0.8 * straddling[0][0]
    assert straddling[1][1] < 0.5 * straddling[0][1]


WORLD = {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]}


def item(number: int, day: int, source: str) -> SceneItem:
    unit, zero = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    return SceneItem(
        source=source, id=f"{source}-{number}", collection=None, when=EPOCH + timedelta(days=day), footprint=WORLD,
        bbox=(-180, -90, 180, 90), hrefs={}, scale=unit, offset=zero, crs=None, cloud_cover=None, gsd_m=None,
        updated=None, platform=None, tile=None, digest=f"{source}-{number * 7919 % 9973:04}",
    )  # fmt: skip


@st.composite
def catalogs(draw: st.DrawFn) -> tuple[list[SceneItem], list[SceneItem], dict[str, dict[Index, Cover]]]:
    """LR scenes, references, and the cover of each over a window of cells, by digest; a scene may miss cells."""
    covers: dict[str, dict[Index, Cover]] = {}
    kinds = []
    for source in ("lr", "ref"):
        made = [item(k, draw(st.integers(0, 9)), source) for k in range(draw(st.integers(0, 6)))]
        for scene in made:
            shares = {cell: draw(SHARES) for cell in WHOLE.indices()}
            covers[scene.digest] = {cell: Cover(s, s * draw(SHARES)) for cell, s in shares.items() if s > 0}
        kinds.append(made)
    return kinds[0], kinds[1], covers


WHOLE, PART = Window(-1, -1, 2, 3), Window(0, 0, 1, 2)
Named = dict[Index, tuple[tuple[str, ...], tuple[str, ...]]]


def chosen(
    lr: list[SceneItem], ref: list[SceneItem], covers: dict[str, dict[Index, Cover]], window: Window
) -> tuple[list[SceneItem], Cells]:
    items, lr_numbers, _ = sort_items(lr, ref)
    inside = {i.digest: {c: v for c, v in covers[i.digest].items() if c in window} for i in items}
    by_number = {k: rows_of(inside[i.digest]) for k, i in enumerate(items)}
    dates, measured = Dates.of_items(items), MeasuredCovers.of(by_number)
    return items, choose_cells(dates, len(lr_numbers), measured, window, "latest_clear", 5.0)


def named(items: list[SceneItem], cells: Cells) -> Named:
    return {cell: (tuple(items[i].id for i in c.lr), tuple(items[i].id for i in c.ref)) for cell, c in cells.items()}


@given(catalogs())
def test_a_region_and_its_part_choose_the_same_for_the_same_cell(
    found: tuple[list[SceneItem], list[SceneItem], dict[str, dict[Index, Cover]]],
) -> None:
    lr, ref, covers = found
    whole = named(*chosen(lr, ref, covers, WHOLE))
    touching = [[i for i in kind if any(c in PART for c in covers[i.digest])] for kind in (lr, ref)]
    part = named(*chosen(touching[0], touching[1], covers, PART))
    assert part == {cell: choice for cell, choice in whole.items() if cell in PART}


@given(catalogs(), st.randoms(use_true_random=False))
def test_the_order_of_the_tables_does_not_matter(
    found: tuple[list[SceneItem], list[SceneItem], dict[str, dict[Index, Cover]]], mixer: random.Random
) -> None:
    lr, ref, covers = found
    first = chosen(lr, ref, covers, WHOLE)
    mixed = [list(lr), list(ref)]
    for kind in mixed:
        mixer.shuffle(kind)
    again = chosen(mixed[0], mixed[1], covers, WHOLE)
    assert named(*again) == named(*first)


@given(catalogs())
def test_every_cell_has_a_scene_or_no_scene_reaches_it(
    found: tuple[list[SceneItem], list[SceneItem], dict[str, dict[Index, Cover]]],
) -> None:
    lr, ref, covers = found
    items, cells = chosen(lr, ref, covers, WHOLE)
    for cell in WHOLE.indices():
        reached = any(cell in covers[scene.digest] for scene in lr)
        assert bool(cells.get(cell, CellChoice()).lr) == reached
    assert all(items[n].source == "lr" for c in cells.values() for n in c.lr)
    assert all(items[n].source == "ref" for c in cells.values() for n in c.ref)


def test_covers_are_one_table_in_a_fixed_order_and_of_few_bytes_a_row() -> None:
    cells = {Index(row, col): Cover(0.25 + col / 512, 0.125) for row in (7, -3, 2) for col in range(127, -1, -1)}
    items = [5, 0, *range(6, 300), 3]
    tracemalloc.start()
    measured = MeasuredCovers.of(dict.fromkeys(items, rows_of(cells)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    plain = sorted((*cell, item, c.cover, c.clear) for item in items for cell, c in cells.items())
    columns = (measured.row, measured.col, measured.item, measured.cover, measured.clear)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == plain
    assert peak < 100 * len(plain)
    seen = measured.over(Window(-3, 10, 3, 12))
    assert sorted({*seen.cell.tolist()}) == [0, 1, 10, 11] and len(seen.item) == 4 * len(items)
    assert len(MeasuredCovers.of({}).row) == len(MeasuredCovers.of({4: rows_of({})}).row) == 0
