"""A campaign of kills: a small region, a SIGKILL at a random moment of a random victim, then the same command.

Each trial must end with the bytes of a straight run, every tile accounted for, no step repeated that was done before
the kill, and no more begun anew than can be in flight. The Dask layer has a scheduler, a nanny with its worker, and a
client, each a process of its own.
Victims and moments follow from a seed. A moment is a step that has begun, drawn from all of them, and a part of a
second after it, so that a slow machine is killed as often in the middle as a fast one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from distributed import Client

from dsdit.receipts.receipts import Receipt, read_receipts
from dsdit.steps.publish.report import due_jobs, make_report
from dsdit.store.arrays import forget_arrays
from dsdit.store.objects import join
from dsdit.window import Index
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.loop import WavefrontRun
from flows.run.run_step import Places, run_step
from tests.support.clustered import digest_of
from tests.support.commands import wait_for
from tests.support.dask_processes import DaskProcesses
from tests.support.digests import mosaic_digest
from tests.support.equator import equator_record
from tests.support.running import Ran, prepare, run_here

Bounds = tuple[float, float, float, float]
VICTIMS = ("client", "worker", "nanny", "scheduler")
WORKERS, FUTURES_PER_WORKER = 2, 2
IN_FLIGHT = WORKERS * FUTURES_PER_WORKER
_PATIENCE_S = 400.0


@dataclass
class Trial:
    """Result of one kill."""

    number: int
    victim: str
    begun: int
    """Steps that had begun before the kill; 0 while the client still plans."""
    delay_s: float
    """From there to the kill."""
    finished: bool = False
    """The command had ended before the kill."""
    lost: int = 0
    """Tiles of the plan without a state at the end."""
    again: int = 0
    """Steps done again though they were finished and reported before the kill."""
    repeated: int = 0
    """Steps begun, by both commands together, beyond those of a straight run."""
    same: bool = False
    """Bytes equal those of the straight run."""
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """Of both commands and of what had to be started again."""

    def __str__(self) -> str:
        when = "after the end" if self.finished else f"{self.delay_s:.2f} s after step {self.begun}"
        done = f"done again {self.again}, begun anew {self.repeated}"
        end = f"lost {self.lost}, {done}, bytes {'same' if self.same else 'DIFFERENT'}, {self.seconds:.1f} s"
        return f"trial {self.number}: {self.victim} killed {when}: {'; '.join([end, *self.errors])}"

    @property
    def good(self) -> bool:
        """Nothing lost, nothing different, nothing done again, and no more begun anew than was in flight."""
        kept = self.same and not self.lost and not self.again
        return kept and self.repeated <= IN_FLIGHT and not self.errors


def quick_record(catalog: Path, weights: Path, output: Path, bounds: Bounds, **more: Any) -> dict[str, Any]:
    """A request over the equator catalog, with one network pass a tile."""
    sampling = {"steps": 1, "batch": 4, "guidance_scale": 1}
    return equator_record(catalog, weights, output, bounds, **{"sampling": sampling, **more})


def begin_step(step: str, job: Index, places: Places) -> Receipt:
    """The step, once a line in the file `begun` next to the mosaic records its begin."""
    with (Path(places.mosaic).parent / "begun").open("a") as file:
        file.write(f"{step} {job}\n")
    return run_step(step, job, places)


def run_command(record: dict[str, Any], address: str, log: Path) -> None:
    """The client's part: plan, wavefront on the cluster, report. Each finished step is one line of `log`."""
    request, plan, places = prepare(record)
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)

    def log_receipt(receipt: Receipt) -> None:
        with log.open("a") as file:
            file.write(json.dumps([receipt.step, *receipt.job, str(receipt.state), *receipt.errors[:1]]) + "\n")

    with Client(address, timeout=60, set_as_default=False) as client:
        limits = RunLimits(FUTURES_PER_WORKER)
        WavefrontRun(client, front, limits, RunHooks(on_receipt=log_receipt), step=begin_step).run()
    make_report(plan, places.receipts)


def draw_moment(chance: random.Random, steps: int) -> tuple[int, float]:
    """(steps that have begun, seconds after that) at which to kill."""
    begun = chance.randint(0, steps)
    return begun, chance.uniform(0.0, 0.3 if begun else 3.0)


def run_trial(trial: Trial, cluster: DaskProcesses, record: dict[str, Any], straight: Ran, folder: Path) -> None:
    """One kill and the same command after it."""
    output, receipts = Path(record["output"]), join(record["output"], "receipts")
    folder.mkdir(parents=True, exist_ok=True)
    first, second = folder / "first", folder / "second"
    cluster.heal()
    began = time.monotonic()
    client = _begin(record, cluster.address, first)
    wait_for(lambda: not client.is_alive() or _lines(output / "begun") >= trial.begun, _PATIENCE_S, "a step", 0.01)
    client.join(trial.delay_s)
    target = client.pid if trial.victim == "client" else cluster.pid(trial.victim)
    trial.finished = not client.is_alive() or target is None
    if target is not None and not trial.finished:
        os.kill(target, signal.SIGKILL)
        cluster.reap(trial.victim)
    if trial.victim in ("worker", "nanny"):  # the command goes on without it
        client.join(_PATIENCE_S)
        if client.is_alive():
            trial.errors.append(f"the command hangs after the {trial.victim} was killed")
    client.kill()
    client.join()
    done, kept = _finished_steps(first), read_receipts(receipts, "mosaic")
    cluster.heal()
    client = _begin(record, cluster.address, second)
    client.join(_PATIENCE_S)
    if client.exitcode != 0:
        trial.errors.append(f"the same command ended with {client.exitcode}")
        client.kill()
        client.join()
    trial.seconds = time.monotonic() - began
    trial.again = sum((done & _finished_steps(second)).values())
    trial.repeated = _lines(output / "begun") - len(straight.receipts)
    after = judge(trial, straight, output)
    trial.lost += sum(1 for job, receipt in kept.items() if receipt.state == "done" and after.get(job) != receipt)


def judge(trial: Trial, straight: Ran, output: Path) -> dict[Index, Receipt]:
    """Notes shards that are lost, errors, and whether the bytes are those of the straight run; returns the receipts."""
    receipts = str(output / "receipts")
    report = make_report(straight.plan, receipts)
    trial.lost = report.jobs["planned"] - report.jobs.get("done", 0)
    trial.errors += report.errors
    forget_arrays()
    trial.same = mosaic_digest(straight.plan, str(output / "mosaic.zarr")) == digest_of(straight)
    return read_receipts(receipts, "mosaic")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _begin(record: dict[str, Any], address: str, log: Path) -> ForkServerProcess:
    """A client, forked from a process that has imported all it needs and runs no thread."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.campaign", "torch"])
    client = context.Process(target=run_command, args=(record, address, log), daemon=True)
    client.start()
    return client


def _finished_steps(path: Path) -> Counter[tuple[str, int, int]]:
    """Steps that a command finished and reported; the last line may be cut off."""
    steps: Counter[tuple[str, int, int]] = Counter()
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            step, row, col, state, *_ = json.loads(line)
        except ValueError:
            continue
        if state == "done":
            steps[step, row, col] += 1
    return steps


def run_campaign(
    runs: int,
    seed: int,
    make_record: Callable[[Path], dict[str, Any]],
    folder: Path,
    report: Callable[[str], None] = print,
) -> list[Trial]:
    """`runs` trials on the Dask layer, victims in turn; `make_record` gives the request for an output."""
    chance = random.Random(seed)
    straight = run_here(make_record(folder / "straight"))
    report(
        f"seed {seed}: {runs} trials, {len(straight.plan.layout.mosaic_jobs)} shards, {len(straight.receipts)} steps"
    )
    cluster, trials = DaskProcesses(folder / "dask", WORKERS), []
    try:
        for number in range(runs):
            trial = Trial(number, VICTIMS[number % len(VICTIMS)], *draw_moment(chance, len(straight.receipts)))
            place = folder / f"trial{number}"
            run_trial(trial, cluster, make_record(place / "out"), straight, place)
            report(str(trial))
            trials.append(trial)
            if trial.good:
                shutil.rmtree(place)
    finally:
        cluster.close()
    return trials
