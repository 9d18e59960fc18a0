"""choose_scenes against a scalar reference implementation: plain loops over one cell at a time, on random cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from catalogs.choose.candidates import MAX_SCENES, WHOLE, CoverTable
from catalogs.choose.cells import Dates
from catalogs.choose.ranking import CLEAR_ENOUGH, COMPOSITES, choose_scenes
from dsdit.plan.candidates import FEW_CANDIDATES

MINUTE_US = 60_000_000


@dataclass
class Row:
    """One item over one cell."""

    item: int
    cover: np.float32
    clear: np.float32
    platform: str | None
    when_us: int
    newest: int
    carried: bool
    newer: list[int]
    superseded: bool = False

    def score(self, rule: str) -> tuple[bool, bool, int, int]:
        cloudy = bool(self.clear < np.float32(CLEAR_ENOUGH))
        missing = 1000 - int(np.rint(self.clear * np.float32(1000)))
        return self.superseded, cloudy, missing if cloudy or rule == "least_cloudy" else 0, self.newest

    @property
    def clear_share(self) -> float:
        """Thousandths of the ground that it covers."""
        return float(np.rint(self.clear / self.cover * np.float32(1000)))


def plain_choice(rows: list[Row], rule: str) -> list[int]:
    """Items of one cell, best first."""
    rows = [row for row in rows if row.cover > 0]
    if any(not row.carried and row.clear >= np.float32(CLEAR_ENOUGH) for row in rows):
        rows = [row for row in rows if not row.carried]
    by_item = {row.item: row for row in rows}
    outdated = set()
    for row in rows:
        for newer in row.newer:
            if newer in by_item:
                row.superseded = True
                if by_item[newer].cover >= row.cover:
                    outdated.add(row.item)
    rows = [row for row in rows if row.item not in outdated]

    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda r: (r.platform or "", r.when_us, r.item)):
        last = groups[-1][-1] if groups else None
        same = last is not None and row.platform is not None and row.platform == last.platform
        if last is not None and same and row.when_us - last.when_us <= 10 * MINUTE_US:
            groups[-1].append(row)
        else:
            groups.append([row])

    units: list[list[Row]] = []
    spares: list[Row] = []
    for group in groups:
        lead = min(group, key=lambda r: r.score(rule))
        unit = []
        for row in group:
            if row.superseded or (row is not lead and lead.cover >= np.float32(WHOLE)):
                spares.append(row)
            elif row is not lead and row.clear_share < min(lead.clear_share, 1000 * CLEAR_ENOUGH):
                units.append([row])
            else:
                unit.append(row)
        # A group of superseded rows alone still has its place among the units.
        units.append(unit or [lead])
    units.sort(key=lambda unit: min(r.score(rule) for r in unit))

    ranked: list[tuple[int, Row]] = []
    for number, unit in enumerate(units):
        ranked += [(number, row) for row in sorted(unit, key=lambda r: r.score(rule)) if row not in spares]
    for row in sorted(spares, key=lambda r: r.score(rule)):
        ranked.append((len(ranked), row))
    chosen: list[int] = []
    for rank, (number, row) in enumerate(ranked):
        whole_before = any(before.cover >= np.float32(WHOLE) for _, before in ranked[:rank])
        if rank < MAX_SCENES and (number < FEW_CANDIDATES or not whole_before):
            chosen.append(row.item)
    return chosen


def random_case(seed: int) -> tuple[CoverTable, int, Dates, NDArray[np.bool_], NDArray[np.int32], list[str | None]]:
    """Cells, items and their covers; many equal shares and times within minutes, so that ties and groups occur."""
    rng = np.random.default_rng(seed)
    count, cells = int(rng.integers(1, 16)), int(rng.integers(1, 6))
    when = rng.integers(0, 4, count) * 86_400_000_000 + rng.integers(0, 25, count) * MINUTE_US
    platforms = [[None, "a", "b"][k] for k in rng.integers(0, 3, count)]
    dates = Dates.of(when.astype(np.int64), np.array([f"{k * 7919 % 9973:04}" for k in range(count)]), platforms)
    pairs = {(int(a), int(b)) for a, b in rng.integers(0, count, (int(rng.integers(0, 5)), 2)) if a != b}
    cell, item = (axis.ravel() for axis in np.meshgrid(np.arange(cells), np.arange(count), indexing="ij"))
    steps = np.array([0, 0.3, 0.9, 0.98, 0.9985, 1.0])
    cover = np.where(rng.random(len(cell)) < 0.7, rng.choice(steps, len(cell)), rng.random(len(cell)))
    clear = cover * np.where(rng.random(len(cell)) < 0.6, rng.choice(steps, len(cell)), rng.random(len(cell)))
    order = rng.permutation(len(cell))[: int(rng.integers(0, len(cell) + 1))]
    rows = CoverTable(
        cell.astype(np.int64)[order],
        item.astype(np.int32)[order],
        cover.astype(np.float32)[order],
        clear.astype(np.float32)[order],
    )
    newer = np.array(sorted(pairs), np.int32).reshape(-1, 2)
    return rows, cells, dates, rng.random(count) < rng.choice([0, 0.4]), newer, platforms


@pytest.mark.parametrize("rule", sorted(COMPOSITES))
def test_choices_equal_those_of_plain_loops(rule: str) -> None:
    compared = 0
    for seed in range(400):
        rows, cells, dates, carried, newer, platforms = random_case(seed)
        found = choose_scenes(rows, cells, dates.newest_first, rule, dates.overpasses, carried, newer)
        assert found.dtype == np.int32 and len(found) == cells
        for cell in range(cells):
            here = [
                Row(
                    int(n),
                    rows.cover[k],
                    rows.clear[k],
                    platforms[n],
                    int(dates.when_us[n]),
                    int(dates.newest_first[n]),
                    bool(carried[n]),
                    [int(b) for a, b in newer if a == n],
                )
                for k, n in enumerate(rows.item)
                if rows.cell[k] == cell
            ]
            expected = plain_choice(here, rule)
            assert [n for n in found[cell].tolist() if n >= 0] == expected, f"seed {seed}, cell {cell}"
            compared += len(expected)
    assert compared > 3000
