"""Choosing, as properties: order, worse scenes and the outline change nothing, and nothing is without a reason."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from catalogs import matching
from catalogs.item import SceneItem
from catalogs.matching import CLEAR_ENOUGH, Seen
from catalogs.measure import Cover
from catalogs.planning import Dates, MeasuredCovers, choose_cells, sort_items
from dsdit.choices import MAX_CANDIDATES, CellChoice, Cells
from dsdit.window import Index, Window

EPOCH = datetime(2024, 6, 1, tzinfo=UTC)
RULES = st.sampled_from(sorted(matching.COMPOSITES))
SHARES = st.one_of(st.sampled_from([0.0, 0.5, CLEAR_ENOUGH, 1.0]), st.floats(0.001, 1))


@dataclass(frozen=True)
class Candidate:
    """An item seen from one cell."""

    item: int
    digest: str
    when: datetime
    cover: float
    clear: float


def microseconds(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def columns(found: list[Candidate], *more: tuple[datetime, str]) -> tuple[Seen, Dates]:
    """One cell's candidates as columns; items are numbered as they stand, and `more` of them follow."""
    seen = Seen(
        np.zeros(len(found), np.int64),
        np.arange(len(found), dtype=np.int32),
        np.array([c.cover for c in found], np.float32),
        np.array([c.clear for c in found], np.float32),
    )
    table = [(c.when, c.digest) for c in found] + list(more)
    when = np.array([microseconds(w) for w, _ in table], np.int64)
    return seen, Dates.of(when, np.array([d for _, d in table], str))


def choose_scenes(found: list[Candidate], rule: str) -> tuple[int, ...]:
    """Items of `found`, best first."""
    if not found:
        return ()
    seen, dates = columns(found)
    chosen = matching.choose_scenes(seen, 1, dates.newest_first, rule)[0]
    return tuple(found[n].item for n in chosen.tolist() if n >= 0)


def choose_references(found: list[Candidate], when: datetime, limit: float | None) -> tuple[int, ...]:
    """Items of `found` as references of a scene of `when`, best first."""
    if not found:
        return ()
    seen, dates = columns(found, (when, "scene"))
    scene = np.array([len(found)], np.int32)
    chosen = matching.choose_references(seen, 1, dates.when_us, dates.newest_first, scene, limit)[0]
    return tuple(found[n].item for n in chosen.tolist() if n >= 0)


@st.composite
def candidates(draw: st.DrawFn, least: int = 0) -> list[Candidate]:
    """Scenes over one cell, some at the same time, some alike but for their digest."""
    made = []
    for number in range(draw(st.integers(least, 9))):
        cover = draw(SHARES)
        when = EPOCH + timedelta(days=draw(st.integers(0, 6)))
        made.append(Candidate(number, f"{number * 7919 % 9973:04}", when, cover, cover * draw(SHARES)))
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


@given(candidates(1), st.floats(0, CLEAR_ENOUGH, exclude_max=True), st.integers(0, 40), RULES)
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
    assert len(chosen) == len(set(chosen)) == min(len(usable), MAX_CANDIDATES)


@given(candidates(), st.integers(0, 6), st.one_of(st.none(), st.floats(0, 5)))
def test_references_are_within_their_age_and_full_ones_first(
    found: list[Candidate], day: int, limit: float | None
) -> None:
    when = EPOCH + timedelta(days=day)
    chosen = [found[n] for n in choose_references(found, when, limit)]
    ages = [abs((c.when - when).total_seconds()) / 86400 for c in chosen]
    assert all(limit is None or age <= limit for age in ages)
    assert all(c.clear > 0 for c in chosen)
    assert [(c.clear < CLEAR_ENOUGH, age) for c, age in zip(chosen, ages, strict=True)] == sorted(
        (c.clear < CLEAR_ENOUGH, age) for c, age in zip(chosen, ages, strict=True)
    )


def item(number: int, day: int, source: str) -> SceneItem:
    unit, zero = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    return SceneItem(
        source=source, id=f"{source}-{number}", collection=None, when=EPOCH + timedelta(days=day), footprint={},
        bbox=(0, 0, 1, 1), hrefs={}, scale=unit, offset=zero, crs=None, cloud_cover=None, gsd_m=None, updated=None,
        platform=None, tile=None, digest=f"{source}-{number * 7919 % 9973:04}",
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
    by_number = {k: {c: v for c, v in covers[i.digest].items() if c in window} for k, i in enumerate(items)}
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
