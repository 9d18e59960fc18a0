"""Kills at random moments: nothing lost, nothing different. The long form is the campaign, the short one four kills."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.campaign import VICTIMS, Trial, quick_record, run_campaign
from tests.faults.prefect_campaign import run_prefect_campaign
from tests.support.kept import AROUND_ZERO, SOUTH, equator_catalog

RUNS = int(os.environ.get("DSDIT_FAULT_RUNS", "80"))
"""Trials on the Dask layer, in four parts."""
PREFECT_RUNS = int(os.environ.get("DSDIT_FAULT_PREFECT_RUNS", "20"))
"""Trials through Prefect, in two parts."""
SEED = int(os.environ.get("DSDIT_FAULT_SEED", "1"))


def share(runs: int, part: int, parts: int) -> int:
    """Trials of one part."""
    return (runs + parts - 1 - part) // parts


def check(
    weights: Path, base: Path, folder: Path, bounds: tuple[float, float, float, float], runs: int, seed: int = SEED
) -> None:
    catalog = equator_catalog(base)
    trials = run_campaign(runs, seed, lambda output: quick_record(catalog, weights, output, bounds), folder)
    assert len(trials) == runs
    assert not [str(trial) for trial in trials if not trial.good]
    check_hit(trials)


def check_hit(trials: list[Trial]) -> None:
    """Most kills hit a run that was under way."""
    missed = [str(trial) for trial in trials if trial.finished]
    assert len(missed) <= len(trials) // 4, missed


@pytest.mark.short
def test_one_kill_of_each(weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(weights, tmp_path_factory.getbasetemp(), tmp_path, SOUTH, len(VICTIMS))


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(4))
def test_many_kills(part: int, weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    check(weights, base, tmp_path, AROUND_ZERO, share(RUNS, part, 4), SEED + part)


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(2))
def test_many_kills_through_prefect(
    part: int, weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    catalog, runs = equator_catalog(tmp_path_factory.getbasetemp()), share(PREFECT_RUNS, part, 2)
    more = {"on_conflict": "wait", "lease_expire_s": 8}
    trials = run_prefect_campaign(
        runs, SEED + part, lambda output: quick_record(catalog, weights, output, SOUTH, **more), tmp_path
    )
    assert len(trials) == runs
    assert not [str(trial) for trial in trials if not trial.good]
    check_hit(trials)
