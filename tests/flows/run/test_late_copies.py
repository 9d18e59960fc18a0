"""A step that wakes up when another copy of it is long done, and its inputs are gone, writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dsdit.steps.mosaic
import dsdit.steps.sample
from dsdit.errors import StoreError
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import read_receipt
from dsdit.status import JobState
from dsdit.window import Index
from flows.run.run_step import Places, run_step
from flows.run.scratch_removal import remove_scratch
from tests.conftest import box
from tests.support.running import prepare, sample_record

SMALL = box(200, 240, 240, 200)


class Hanging:
    """A function that waits in its first call until it may go on."""

    def __init__(self, original: Callable[..., Any]) -> None:
        self._original, self.reached, self.goes_on = original, threading.Event(), threading.Event()

    def __call__(self, *args: Any, **more: Any) -> Any:
        if not self.reached.is_set():
            self.reached.set()
            assert self.goes_on.wait(300)
        return self._original(*args, **more)


@pytest.fixture
def begun(catalog: Path, weights: Path, tmp_path: Path) -> tuple[Plan, Places]:
    """A run over one shard, staged."""
    _, plan, places = prepare(sample_record(catalog, weights, tmp_path / "out", SMALL))
    for job in plan.layout.stage_jobs:
        run_step("stage", job, places)
    return plan, places


def objects(place: str) -> dict[Path, tuple[int, bytes]]:
    """Each file below a folder, with the moment it was written."""
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in Path(place).rglob("*") if p.is_file()}


def released(plan: Plan, places: Places, step: str, job: Index) -> None:
    """Removes what a step read, as a run does when the last reader is done."""
    remove_scratch(plan, places, [(*work, JobState.DONE) for work in plan.layout.inputs_of(step, job)])


def check_late(plan: Plan, places: Places, step: str, job: Index, hanging: Hanging, output: str) -> None:
    """The first copy hangs in `hanging`, the second is done and its inputs go; the first then changes no file."""
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(run_step, step, job, places)
        try:
            assert hanging.reached.wait(300)
            run_step(step, job, places)
            released(plan, places, step, job)
            before = objects(output)
        finally:
            hanging.goes_on.set()
        with pytest.raises(StoreError, match=r"has no receipt .* another copy of it was done"):
            late.result()
    assert objects(output) == before


def test_a_late_mosaic_writes_no_fill_over_a_good_shard(
    begun: tuple[Plan, Places], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, places = begun
    for job in plan.layout.sample_jobs:
        run_step("sample", job, places)
    (job,) = plan.layout.mosaic_jobs
    hanging = Hanging(dsdit.steps.mosaic.blend_tiles)
    monkeypatch.setattr(dsdit.steps.mosaic, "blend_tiles", hanging)
    check_late(plan, places, "mosaic", job, hanging, places.mosaic)
    receipt = read_receipt(places.receipts, "mosaic", job)
    assert receipt is not None and receipt.state is JobState.DONE and set(receipt.pixels) <= {"done", "no_reference"}
    with pytest.raises(StoreError, match="has no receipt sample/"):
        run_step("mosaic", job, places)


@pytest.mark.slow
def test_a_late_sample_writes_no_fill_over_good_tiles(
    begun: tuple[Plan, Places], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, places = begun
    job = plan.layout.sample_jobs[0]
    hanging = Hanging(dsdit.steps.sample.read_context)
    monkeypatch.setattr(dsdit.steps.sample, "read_context", hanging)
    check_late(plan, places, "sample", job, hanging, places.scratch)
