"""Night after night with the real command: only what changed is done and written, and a lost night is caught up."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsdit.history import read_history, read_history_shards
from dsdit.status import JobState
from dsdit.steps.publish import mosaic_digest
from dsdit.store import forget_arrays
from flows.prepare import keep_plan, make_plan
from flows.request import make_request
from tests.support.clustered import digest_of
from tests.support.commands import (
    DSDIT,
    call,
    descendants,
    end_all,
    environment,
    files_below,
    prefect_home,
    started,
    wait_for,
    write_request,
)
from tests.support.nights import CLOUD, NORTH, add_scene, make_nights, night_record
from tests.support.running import run_here

NORTHERN = {"0", "1", "2"}
"""Rows of the shards that a scene north of the origin may touch."""


def night(path: Path, *settings: str) -> str:
    """One night; what it said."""
    pairs = [part for setting in settings for part in ("--set", setting)]
    done = call([*DSDIT, "run", str(path), *pairs], environment(prefect_home()), 560)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def objects(version: Path) -> dict[str, tuple[int, int]]:
    """Shards of full resolution and of group lr: name -> (inode, time of the last change)."""
    mosaic = version / "mosaic.zarr"
    found = {p.relative_to(mosaic).as_posix(): p.stat() for g in ("0", "lr") for p in mosaic.glob(f"{g}/*/c/**/*")}
    return {name: (s.st_ino, s.st_mtime_ns) for name, s in found.items() if (mosaic / name).is_file()}


@pytest.mark.short
def test_a_new_scene_a_lost_night_and_a_night_with_nothing_new(weights: Path, tmp_path: Path) -> None:
    catalog, output = make_nights(tmp_path / "catalog"), tmp_path / "out"
    record = night_record(catalog, weights, output, lease_expire_s=5)
    path = write_request(tmp_path / "request.yaml", record)
    assert "5 of 5 shards are due" in night(path)
    add_scene(catalog, "a-new-one", "2024-07-08T10:20:21Z", NORTH, gain=1.2)
    with started([*DSDIT, "run", str(path)], environment(prefect_home()), tmp_path / "lost") as lost:
        wait_for(
            lambda: list(output.glob("receipts/mosaic/*.done.json")) or lost.poll() is not None, 500, "a shard", 0.01
        )
        below = descendants(lost.pid)
        lost.send_signal(signal.SIGKILL)
        lost.wait(10)
        end_all(below)
    written = len(list(output.glob("receipts/mosaic/*.done.json")))
    assert 1 <= written < 3
    assert "3 of 5 shards are due" in (tmp_path / "lost").read_text()
    assert (output / "current").readlink() == Path("versions/1")
    assert f"{3 - written} of 5 shards are due" in night(path)
    old, new = (objects(output / "versions" / n) for n in "12")
    changed = {name for name in old if old[name] != new[name]}
    assert set(old) == set(new)
    assert {name.split("/")[-2] for name in changed} == NORTHERN
    assert {name.split("/")[-2] for name in set(old) - changed} == {"3", "4"}
    straight = run_here(night_record(catalog, weights, tmp_path / "straight"))
    forget_arrays()
    assert mosaic_digest(straight.plan, str(output / "mosaic.zarr")) == digest_of(straight)
    before = files_below(output / "versions")
    assert "0 of 5 shards are due" in night(path)
    assert files_below(output / "versions") == before
    first, second = read_history(str(output))
    assert (first["version"], first["shards"], second["version"], second["shards"]) == (
        "1",
        {"done": 5},
        "2",
        {"done": 3},
    )
    shards = read_history_shards(str(output))
    assert {str(row - min(r for r, _ in shards)) for row, _ in shards} == NORTHERN
    assert all(state is JobState.DONE for state, _ in shards.values())
    assert any("a-new-one" in ids for _, ids in shards.values())
    told = call([*DSDIT, "status", str(output), "--picture", str(tmp_path / "map.png")], environment(prefect_home()))
    assert told.returncode == 0, told.stderr
    assert "5 done, 0 due, 5 planned" in told.stdout
    assert [line.strip() for line in told.stdout.splitlines()].count("#") == 5
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def plan_at(record: dict[str, Any], now: datetime) -> list[str]:
    """Ids of the scenes of the first cell north and of the first one south of the origin, in their order."""
    request = make_request(record)
    plan = make_plan(request, now, lambda _: None)
    keep_plan(plan, request.output)
    names = [item["id"] for item in plan.items]
    rows = plan.cells.lr[:, 0]
    assert rows.shape[0] == 2
    return ["+".join(names[n] for n in row if n >= 0) for row in rows]


def test_a_rolling_period_never_puts_clouds_where_it_was_clear(weights: Path, tmp_path: Path) -> None:
    catalog = make_nights(tmp_path / "catalog")
    record = night_record(catalog, weights, tmp_path / "out", period={"latest_days": 10})
    assert plan_at(record, datetime(2024, 7, 10, tzinfo=UTC)) == ["first", "first"]
    add_scene(catalog, "clouds", "2024-07-12T10:20:21Z", gain=2.0, seen=CLOUD)
    assert plan_at(record, datetime(2024, 7, 14, tzinfo=UTC)) == ["first+clouds", "first+clouds"]
    assert plan_at(record, datetime(2024, 7, 20, tzinfo=UTC)) == ["first+clouds", "first+clouds"]
    add_scene(catalog, "clear", "2024-07-21T10:20:21Z", NORTH)
    assert plan_at(record, datetime(2024, 7, 22, tzinfo=UTC)) == ["clear+clouds", "first+clouds"]


def test_another_setting_makes_every_shard_due(weights: Path, tmp_path: Path) -> None:
    from dsdit.steps.report import due_jobs

    catalog = make_nights(tmp_path / "catalog")
    record = night_record(catalog, weights, tmp_path / "out")
    ran = run_here(record)
    assert len(due_jobs(ran.plan, ran.places.receipts)) == 0
    request = make_request({**record, "sampling": {**record["sampling"], "seed": 1}})
    again = make_plan(request, datetime(2024, 7, 20, tzinfo=UTC), lambda _: None)
    assert np.array_equal(due_jobs(again, ran.places.receipts).mask, np.ones((5, 1), bool))
