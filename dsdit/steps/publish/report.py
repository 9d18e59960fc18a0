"""The report: receipts compared with the plan. Every tile and pixel of the plan is counted in it, or as missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.digest import Digest
from dsdit.lattice.job_mask import Jobs
from dsdit.plan.pair_fits import FLAGGED, Correction
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt, done_jobs, iterate_receipts, new_states
from dsdit.receipts.tile_states import ABSENT, TileStates
from dsdit.status import JobState, PixelStatus, TileState
from dsdit.window import Index

STALE = "stale"
"""State of a shard whose receipt has another digest of inputs than the plan."""


@dataclass(frozen=True)
class Report:
    """State of an output."""

    region: str
    plan: str
    jobs: dict[str, int]
    """Shards by state, `stale` where their inputs have changed since; `due` are those that the next run will do.

    `cleared` are those that are outside the region by now and were removed since the version before.
    """
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
    """Registration of the references: a count of pairs, then those that a person should look at."""
    scenes: tuple[str, ...] = field(default=())
    """Times of the first and the last scene that pixels are from; empty where there are none."""
    clipped: int = 0
    """Pixels that restoring clipped to the bounds of their surroundings in LR (`dsdit.imaging.bounds`)."""

    @property
    def complete(self) -> bool:
        """True where nothing is due."""
        return not self.jobs.get("due")


def due_jobs(plan: Plan, receipts: str) -> Jobs:
    """Mosaic jobs without a receipt of state DONE with the plan's digest, in row-major order."""
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
    """Sums over receipts, added one at a time: memory grows with the region by one byte a tile."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._window = plan.layout.sample_jobs.window.refine(plan.lattice.shard_strides)
        self._tiles = np.zeros(self._window.shape, np.uint8)
        """State + 1 of each tile of a receipt, plus `_SAMPLED` where it is from the tile's own sample step."""
        self._jobs: Counter[str] = Counter()
        self._pixels: Counter[str] = Counter({s.name.lower(): 0 for s in PixelStatus if s is not PixelStatus.OUTSIDE})
        self._seconds: Counter[str] = Counter()
        self._calls = 0
        self._lr = np.zeros(3)
        self._clipped = 0
        """LR pixels, and the sums of |A(sr) - lr| over them before and after restoring."""
        self._errors: dict[str, None] = {}
        self._done = 0
        self._scenes: list[float] = []

    def add(self, receipt: Receipt) -> None:
        """Adds one receipt of any step."""
        if receipt.state is JobState.CLEARED:  # in the region again, and not written since
            return
        self._seconds[receipt.step] += receipt.seconds  # type: ignore[assignment]
        self._errors.update(dict.fromkeys(receipt.errors))
        self._add_tiles(TileStates.of(receipt.tiles), receipt.step == "sample")
        if receipt.step == "sample":
            self._calls += receipt.calls
        elif receipt.step == "mosaic":
            self._add_scenes(receipt)
            same = receipt.digest == self._digest(receipt.job)
            self._jobs[str(receipt.state) if same else STALE] += 1
            self._done += same and receipt.state is JobState.DONE
            self._pixels.update(receipt.pixels)
            self._clipped += int(receipt.measures.get("clipped_pixels", 0))
            n = receipt.measures.get("lr_pixels", 0)
            if n:
                measured = receipt.measures["lr_error_before"], receipt.measures["lr_error_after"]
                self._lr += n, n * measured[0], n * measured[1]

    def _add_tiles(self, tiles: TileStates, sampled: bool) -> None:
        place = tiles.window.intersect(self._window)
        if place.empty:
            return
        states, known = tiles.states[place.within(tiles.window)], self._tiles[place.within(self._window)]
        new = states != ABSENT if sampled else (states != ABSENT) & (known < _SAMPLED)
        known[new] = states[new] + np.uint8(1 + (_SAMPLED if sampled else 0))

    def _add_scenes(self, receipt: Receipt) -> None:
        if receipt.state is JobState.FAILED:
            return
        if "scenes" in receipt.measures:
            ends = ("first_scene_s", "last_scene_s")
            self._scenes += [receipt.measures[name] for name in ends if name in receipt.measures]
        else:  # written by an earlier version: scenes that were read for it
            self._scenes += [self._scene_times[name] for name in receipt.sources if name in self._scene_times]
        self._scenes = [min(self._scenes), max(self._scenes)] if self._scenes else []

    @cached_property
    def _scene_times(self) -> dict[str, float]:
        """Seconds since 1970 of each scene of the plan, by id."""
        return {item["id"]: datetime.fromisoformat(item["when"]).timestamp() for item in scenes_of(self.plan)}

    def _digest(self, job: Index) -> Digest:
        jobs = self.plan.layout.mosaic_jobs
        if job not in jobs:
            return b""
        number = self._numbers[job.row - jobs.window.row0, job.col - jobs.window.col0]
        return bytes(self.plan.job_digests()[number])

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        return _numbers(self.plan.layout.mosaic_jobs)

    def report(self, cleared: int = 0) -> Report:
        """The receipts added so far, compared with the plan, and a number of cleared shards."""
        planned = len(self.plan.layout.mosaic_jobs)
        counts = np.bincount(self._tiles.ravel() & (_SAMPLED - 1), minlength=1)
        weight, before, after = self._lr.tolist()
        return Report(
            region=self.plan.region.name,
            plan=self.plan.digest.hex(),
            jobs={
                **self._jobs,
                **({str(JobState.CLEARED): cleared} if cleared else {}),
                "planned": planned,
                "due": planned - self._done,
            },
            tiles={
                "planned": self.plan.layout.tile_count,
                **{TileState(k - 1).name.lower(): int(n) for k, n in enumerate(counts) if k and n},
            },
            pixels=dict(self._pixels),
            seconds={step: round(s, 2) for step, s in self._seconds.items()},
            calls=self._calls,
            lr_error={"before": before / weight, "after": after / weight} if weight else {},
            clipped=self._clipped,
            errors=tuple(self._errors),
            registration=registration_notes(self.plan),
            scenes=tuple(datetime.fromtimestamp(time, UTC).isoformat() for time in self._scenes),
        )


def scenes_of(plan: Plan) -> list[dict[str, Any]]:
    """The plan's items that are LR scenes; all of them where its sources do not state their role."""
    roles = {name: source.get("role") for name, source in plan.sources.items()}
    return [item for item in plan.items if roles.get(item["source"], "lr") == "lr"]


def make_report(plan: Plan, receipts: str, others: Iterable[Receipt] = ()) -> Report:
    """Adds up the mosaic receipts below `receipts`; `others` are of steps whose receipts are removed with scratch."""
    tally = Tally(plan)
    for receipt in others:
        if receipt.step != "mosaic":
            tally.add(receipt)
    return finish_report(tally, receipts)


def finish_report(tally: Tally, receipts: str) -> Report:
    """The report of a tally of stages and samples, once the mosaic receipts below `receipts` are added to it."""
    for receipt in iterate_receipts(receipts, "mosaic", tally.plan.layout.mosaic_jobs):
        tally.add(receipt)
    states = new_states(receipts, "mosaic")
    return tally.report(sum(state is JobState.CLEARED for state in states.values()))


def registration_notes(plan: Plan) -> tuple[str, ...]:
    """Lines on the plan's pairs: how many have no radiometry, what is done about their shifts, each flagged pair."""
    unmatched, counted = int((plan.fits.samples == 0).sum()), plan.fits.count_corrections()
    notes = [f"{unmatched} of {len(plan.fits)} pairs share too little clear ground: {_KEPT}"] if unmatched else []
    if not counted.keys() - {Correction.NOT_MEASURED}:
        return tuple(notes)
    moved = [r for _, r in plan.fits.longest_shifts(Correction.APPLIED, 1)]
    lines = ["pairs: " + ", ".join(f"{n} {_CORRECTIONS[correction]}" for correction, n in counted.items())]
    if moved:
        lines[0] += f"; longest corrected shift {moved[0].length_m:.2f} m"
    for correction in FLAGGED:
        for (ref, lr), found in plan.fits.longest_shifts(correction, _MOST_FLAGGED):
            ids = (str(plan.items[number]["id"]) for number in (ref, lr))
            pair = " on ".join("".join(c if c.isprintable() else "?" for c in name) for name in ids)
            shift = f"misregistered by {found.length_m:.2f} m, above the limit"
            reason = shift if correction is Correction.TOO_FAR else "shift not sure"
            lines.append(f"{pair}: {reason} (agreement {found.agreement:.2f}), not moved")
    return (*notes, *lines)


_MOST_FLAGGED = 5
_KEPT = "their references keep their own radiometry"
_CORRECTIONS = {
    Correction.NOT_MEASURED: "not measured",
    Correction.APPLIED: "moved",
    Correction.NOT_NEEDED: "in place",
    Correction.NOT_REQUESTED: "measured only",
    Correction.UNSURE: "not sure",
    Correction.TOO_FAR: "above the limit",
}
