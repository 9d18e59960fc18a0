"""The report: receipts against the plan. Every tile and pixel of the plan is found again in it, or named as missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dsdit.lattice.job_mask import Jobs
from dsdit.plan.pair_fits import FLAGGED, Place
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt, done_jobs, iterate_receipts
from dsdit.receipts.tile_states import ABSENT, TileStates
from dsdit.status import JobState, PixelStatus, TileState
from dsdit.window import Index

STALE = "stale"
"""State of a shard whose receipt is of other inputs than the plan's."""


@dataclass(frozen=True)
class Report:
    """State of an output."""

    region: str
    plan: str
    jobs: dict[str, int]
    """Shards by state, `stale` where they were made of other inputs; `due` are those that a next run would do."""
    tiles: dict[str, int]
    """Tiles by state, as they were last sampled or blended."""
    pixels: dict[str, int]
    """Pixels of the region by status."""
    seconds: dict[str, float]
    """Worker seconds by step."""
    calls: int
    """Network calls."""
    lr_error: dict[str, float]
    """Mean |A(sr) - lr| in reflectance, before and after restoring."""
    errors: tuple[str, ...] = field(default=())
    registration: tuple[str, ...] = field(default=())
    """How the references lie: a count of pairs, then those that a person should look at."""

    @property
    def complete(self) -> bool:
        """True where nothing is due."""
        return not self.jobs.get("due")


def due_jobs(plan: Plan, receipts: str) -> Jobs:
    """Mosaic jobs without a receipt of these very inputs that says done, in row-major order."""
    jobs = plan.layout.mosaic_jobs
    places, digests = done_jobs(receipts, "mosaic")
    rows, cols = places[:, 0] - jobs.window.row0, places[:, 1] - jobs.window.col0
    inside = (rows >= 0) & (rows < jobs.mask.shape[0]) & (cols >= 0) & (cols < jobs.mask.shape[1])
    if not inside.any():
        return jobs
    at = _numbers(jobs)[rows[inside], cols[inside]]
    same = (plan.job_digests()[at] == digests[inside]).all(1) & (at >= 0)
    due = jobs.mask.copy()
    due[rows[inside][same], cols[inside][same]] = False
    return Jobs(jobs.window, due)


def _numbers(jobs: Jobs) -> NDArray[np.int64]:
    """Number of each job in row-major order on the jobs' window; -1 where there is none."""
    numbers = np.full(jobs.mask.shape, -1, np.int64)
    numbers[jobs.mask] = np.arange(len(jobs))
    return numbers


_SAMPLED = 0x80


class Tally:
    """Sums over receipts, each seen once and not kept: a byte a tile is all that grows with the region."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._window = plan.layout.sample_jobs.window.refine(plan.lattice.shard_strides)
        self._tiles = np.zeros(self._window.shape, np.uint8)
        """State + 1 of each tile that was seen, and `_SAMPLED` where its own sample step said so."""
        self._jobs: Counter[str] = Counter()
        self._pixels: Counter[str] = Counter({s.name.lower(): 0 for s in PixelStatus if s is not PixelStatus.OUTSIDE})
        self._seconds: Counter[str] = Counter()
        self._calls = 0
        self._lr = np.zeros(3)
        """LR pixels, and the sums of |A(sr) - lr| over them before and after restoring."""
        self._errors: dict[str, None] = {}
        self._done = 0

    def add(self, receipt: Receipt) -> None:
        """Takes one receipt of any step."""
        self._seconds[receipt.step] += receipt.seconds  # type: ignore[assignment]
        self._errors.update(dict.fromkeys(receipt.errors))
        self._add_tiles(TileStates.of(receipt.tiles), receipt.step == "sample")
        if receipt.step == "sample":
            self._calls += receipt.calls
        elif receipt.step == "mosaic":
            same = receipt.digest == self._digest(receipt.job)
            self._jobs[str(receipt.state) if same else STALE] += 1
            self._done += same and receipt.state is JobState.DONE
            self._pixels.update(receipt.pixels)
            n = receipt.measures.get("lr_pixels", 0)
            if n:
                measured = receipt.measures["lr_error_before"], receipt.measures["lr_error_after"]
                self._lr += n, n * measured[0], n * measured[1]

    def _add_tiles(self, tiles: TileStates, sampled: bool) -> None:
        place = tiles.window.intersect(self._window)
        if place.empty:
            return
        states, known = tiles.states[place.within(tiles.window)], self._tiles[place.within(self._window)]
        told = states != ABSENT if sampled else (states != ABSENT) & (known < _SAMPLED)
        known[told] = states[told] + np.uint8(1 + (_SAMPLED if sampled else 0))

    def _digest(self, job: Index) -> str:
        jobs = self.plan.layout.mosaic_jobs
        if job not in jobs:
            return ""
        row: NDArray[np.uint8] = self._digests[self._numbers[job.row - jobs.window.row0, job.col - jobs.window.col0]]
        return row.tobytes().hex()

    @cached_property
    def _digests(self) -> NDArray[np.uint8]:
        return self.plan.job_digests()

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        return _numbers(self.plan.layout.mosaic_jobs)

    def report(self) -> Report:
        """What was seen so far, against the plan."""
        planned = len(self.plan.layout.mosaic_jobs)
        counts = np.bincount(self._tiles.ravel() & (_SAMPLED - 1), minlength=1)
        weight, before, after = self._lr.tolist()
        return Report(
            region=self.plan.region.name,
            plan=self.plan.digest,
            jobs={**self._jobs, "planned": planned, "due": planned - self._done},
            tiles={
                "planned": self.plan.layout.tile_count,
                **{TileState(k - 1).name.lower(): int(n) for k, n in enumerate(counts) if k and n},
            },
            pixels=dict(self._pixels),
            seconds={step: round(s, 2) for step, s in self._seconds.items()},
            calls=self._calls,
            lr_error={"before": before / weight, "after": after / weight} if weight else {},
            errors=tuple(self._errors),
            registration=registration_notes(self.plan),
        )


def make_report(plan: Plan, receipts: str, others: Iterable[Receipt] = ()) -> Report:
    """Adds up the mosaic receipts below `receipts`; `others` are those of steps whose receipts go with scratch."""
    tally = Tally(plan)
    for receipt in others:
        if receipt.step != "mosaic":
            tally.add(receipt)
    return finish_report(tally, receipts)


def finish_report(tally: Tally, receipts: str) -> Report:
    """The report of a tally of stages and samples, once the mosaic receipts below `receipts` are added to it."""
    for receipt in iterate_receipts(receipts, "mosaic", tally.plan.layout.mosaic_jobs):
        tally.add(receipt)
    return tally.report()


def registration_notes(plan: Plan) -> tuple[str, ...]:
    """Lines on the plan's pairs: how many have no radiometry, what becomes of their shifts, each of the flagged."""
    unmatched, counted = int((plan.fits.samples == 0).sum()), plan.fits.count_places()
    told = [f"{unmatched} of {len(plan.fits)} pairs share too little clear ground: {_KEPT}"] if unmatched else []
    if not counted.keys() - {Place.NOT_MEASURED}:
        return tuple(told)
    moved = [r for _, r in plan.fits.at_place(Place.MOVED, 1)]
    lines = ["pairs: " + ", ".join(f"{n} {_PLACES[place]}" for place, n in counted.items())]
    if moved:
        lines[0] += f"; longest shift taken out {moved[0].length_m:.2f} m"
    for place in FLAGGED:
        for (ref, lr), found in plan.fits.at_place(place, _MOST_FLAGGED):
            ids = (str(plan.items[number]["id"]) for number in (ref, lr))
            pair = " on ".join("".join(c if c.isprintable() else "?" for c in name) for name in ids)
            far = f"lies {found.length_m:.2f} m beside, above the limit" if place is Place.TOO_FAR else "shift not sure"
            lines.append(f"{pair}: {far} (agreement {found.agreement:.2f}), not moved")
    return (*told, *lines)


_MOST_FLAGGED = 5
_KEPT = "their references keep their own radiometry"
_PLACES = {
    Place.NOT_MEASURED: "not measured",
    Place.MOVED: "moved",
    Place.IN_PLACE: "in place",
    Place.LEFT: "measured only",
    Place.UNSURE: "not sure",
    Place.TOO_FAR: "above the limit",
}
