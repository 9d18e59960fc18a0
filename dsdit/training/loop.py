"""A training run from its data to its weights folder: batches ahead of time, checkpoints, validation, an end."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch

from dsdit.allocator import keep_freed_memory
from dsdit.imagery import FREE_LICENCES, Scene, measure_scene, read_pairs, read_singles, registered
from dsdit.registration import Shift
from dsdit.training.config import TrainingConfig
from dsdit.training.dataset import CropDataset
from dsdit.training.processes import join_processes
from dsdit.training.trainer import Trainer
from dsdit.training.validation import Validation

_LOG = logging.getLogger("dsdit.training")
_REGISTRATION_SCALE = 8


def register_scenes(scenes: list[Scene], kept: Path) -> list[Scene]:
    """Pairs with their older picture moved onto the newer one, as the flow gives references to the network.

    Shifts are measured once and kept in the JSON file `kept`.
    """
    known = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    out, before = [], len(known)
    for scene in scenes:
        if scene.ref is not None and scene.id not in known:
            known[scene.id] = asdict(measure_scene(scene, _REGISTRATION_SCALE))
        out.append(registered(scene, Shift(**known[scene.id])) if scene.ref is not None else scene)
    if len(known) > before:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(known, indent=1), "utf-8")
        partial.replace(kept)
    return out


def train(
    config: TrainingConfig,
    data: Path,
    out: Path,
    resume: bool = False,
    show: Callable[[float, str], None] | None = None,
) -> Path:
    """Trains on `data` (pairs/ and single/) and returns the weights folder, `out`/weights.

    `resume` takes up `out`'s checkpoint where there is one. Under torchrun each process takes its share of the batch.
    Every so often validation pairs are measured, and shown in `out`/validation.png. `show` is told the share that is
    done and a line about it at every step; log lines go to the logger "dsdit.training".
    """
    keep_freed_memory()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    scenes = read_pairs(data, "train", FREE_LICENCES) + read_singles(data, "train", FREE_LICENCES)
    processes = join_processes()
    validation = Validation.read(data) if processes.leads else None
    if processes.leads:
        scenes = register_scenes(scenes, out / "registration.json")
    processes.wait()
    if not processes.leads:
        scenes = register_scenes(scenes, out / "registration.json")
    share = max(1, config.batch // processes.count)
    dataset = CropDataset(scenes, config.data, config.seed, share, config.crop_px)
    trainer = Trainer(config, out, processes)
    if config.autocast and not trainer.autocast and processes.leads:
        _LOG.info("this device does not compute in bfloat16: training in float32")
    if resume and trainer.load() and processes.leads:
        _LOG.info("resumed at step %d, minute %.1f", trainer.step, trainer.minutes)
    started = time.monotonic() - 60 * trainer.minutes
    paused, saved, validated, smooth = 0.0, trainer.minutes, trainer.minutes, math.nan

    def number(step: int) -> int:
        return step * processes.count + processes.rank

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(dataset.batch, number(trainer.step))
        while trainer.progress < 1.0:
            batch = following.result()
            following = pool.submit(dataset.batch, number(trainer.step + 1))
            loss = trainer.advance(batch)
            smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
            trainer.minutes = processes.agree((time.monotonic() - started - paused) / 60)
            if not processes.leads:
                continue
            line = (
                f"step {trainer.step} minute {trainer.minutes:.1f} loss {smooth:.4f} rate {trainer.learning_rate():.2e}"
            )
            if show is not None:
                show(trainer.progress, line)
            if trainer.step % 20 == 0:
                _LOG.info(line)
            done = trainer.progress >= 1.0
            if done or trainer.minutes - saved >= config.checkpoint_minutes:
                trainer.save()
                saved = trainer.minutes
            if validation is not None and (done or trainer.minutes - validated >= config.validation_minutes):
                before = time.monotonic()
                average = {name: value.cpu() for name, value in trainer.average.items()}
                figures = validation.measure(trainer.network.config, average, out / "validation.png")
                for name, found in figures.items():
                    _LOG.info("validation %-14s %s", name, "  ".join(f"{k} {v:.3f}" for k, v in found.items()))
                paused += time.monotonic() - before
                validated = trainer.minutes
    processes.leave()
    return out / "weights"
