"""From items and measures to the cells and pairs of a plan: pure arithmetic on tables.

Nothing is read here: the same items and measures give the same plan, in whichever order they came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from catalogs.item import SceneItem
from catalogs.matching import Candidate, choose_references, choose_scenes
from catalogs.measure import Cover
from dsdit.plan import CellChoice
from dsdit.window import Index, Window

Covers = Mapping[int, Mapping[Index, Cover]]


def sort_items(lr: Sequence[SceneItem], ref: Sequence[SceneItem]) -> tuple[list[SceneItem], range, range]:
    """One table in a fixed order, LR first, and the numbers of the two kinds."""
    table = sorted(lr, key=lambda i: (i.when, i.id, i.digest)) + sorted(ref, key=lambda i: (i.when, i.id, i.digest))
    return table, range(len(lr)), range(len(lr), len(table))


def choose_cells(
    items: Sequence[SceneItem],
    lr: range,
    ref: range,
    covers: Covers,
    cells: Window,
    rule: str,
    max_ref_age_days: float | None,
) -> dict[Index, CellChoice]:
    """Candidates of every cell that has any."""
    chosen: dict[Index, CellChoice] = {}
    for cell in cells.indices():
        scenes = choose_scenes(_candidates(items, lr, covers, cell), rule)
        newest = items[scenes[0]].when if scenes else None
        references = choose_references(_candidates(items, ref, covers, cell), newest, max_ref_age_days)
        if scenes or references:
            chosen[cell] = CellChoice(scenes, references)
    return chosen


def pairs_of(cells: Mapping[Index, CellChoice]) -> list[tuple[int, int]]:
    """(reference, LR) pairs of items that meet in some cell, in a fixed order."""
    return sorted({(ref, lr) for choice in cells.values() for ref in choice.ref for lr in choice.lr})


def used_items(cells: Mapping[Index, CellChoice]) -> list[int]:
    """Items that some cell may read."""
    return sorted({i for choice in cells.values() for i in (*choice.lr, *choice.ref)})


def _candidates(items: Sequence[SceneItem], numbers: range, covers: Covers, cell: Index) -> list[Candidate]:
    found = []
    for number in numbers:
        cover = covers.get(number, {}).get(cell)
        if cover is not None:
            item = items[number]
            found.append(Candidate(number, item.digest, item.when, cover.cover, cover.clear))
    return found
