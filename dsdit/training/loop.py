"""A training run from its data to its weights folder: batches prepared ahead, checkpoints, validation, end."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from itertools import count
from pathlib import Path

import torch

from dsdit.errors import RequestError
from dsdit.evaluation.pairs import Scene
from dsdit.malloc import keep_freed_memory
from dsdit.training.ahead import batches_ahead
from dsdit.training.checkpoint import CHECKPOINT_FILE
from dsdit.training.config import TrainingConfig, crop_size
from dsdit.training.dataset import CropDataset
from dsdit.training.losses import LOSS_FILE, LossLog
from dsdit.training.processes import join_processes
from dsdit.training.reading import read_scenes, register_scenes
from dsdit.training.trainer import Trainer
from dsdit.training.validation import Validation

_LOG = logging.getLogger("dsdit.training")
_SIZE_PX = 128
"""Largest side of the windows of validation."""


def _check_fresh(out: Path) -> None:
    found = [name for name in (CHECKPOINT_FILE, "weights", "best") if (out / name).exists()]
    if found:
        raise RequestError(f"{out} holds {found} of a run: give --resume to go on with it, or another --out")


def cut_validation(config: TrainingConfig, scenes: list[Scene]) -> Validation | None:
    """Validation at the most frequent scale; None, with a log line, where no pair is large enough."""
    scales = config.data.scales
    scale = max(scales, key=scales.__getitem__)
    size = crop_size(scale, min(_SIZE_PX, config.crop_px))
    validation = Validation.cut(scenes, scale, size)
    if validation is None:
        _LOG.info("no validation, and no best/: none of %d validation pairs has sides of %d px", len(scenes), size)
    return validation


def _validate(trainer: Trainer, validation: Validation) -> None:
    figures = validation.measure(trainer.network.config, trainer.average, trainer.out / "validation.png")
    for name, found in figures.items():
        _LOG.info("validation %-14s %s", name, "  ".join(f"{k} {v:.3f}" for k, v in found.items()))
    if trainer.keep_best(figures["model"]["psnr"]):
        _LOG.info("the best so far: %s", trainer.out / "best")


def train(
    config: TrainingConfig,
    data: Path,
    out: Path,
    resume: bool = False,
    on_step: Callable[[float, str], None] | None = None,
) -> Path:
    """Trains on `data` (pairs/ and, where the configuration draws from it, single/); returns `out`/weights.

    `resume` takes up `out`'s checkpoint where there is one; without it an `out` that holds a run is refused. Under
    torchrun each process takes its share of the batch. `out`/losses.csv has the loss of every step. Every so often
    validation pairs are measured at the most frequent scale and shown in `out`/validation.png, and the average with
    the highest PSNR so far is kept as `out`/best. `on_step` gets the share that is done and a line of text after every
    step; log lines go to the logger "dsdit.training". Raises RequestError, WeightsError.
    """
    if not resume:
        _check_fresh(out)
    keep_freed_memory()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    processes = join_processes()
    origins = [name for name, weight in config.data.origins.items() if weight > 0]
    scenes, kept = read_scenes(data, origins, _LOG.info if processes.leads else lambda text: None)
    share = max(1, config.batch // processes.count)
    if processes.leads:
        scenes = register_scenes(scenes, out / "registration.json")
    processes.wait()
    if not processes.leads:
        scenes = register_scenes(scenes, out / "registration.json")
    dataset = CropDataset(scenes, config.data, config.seed, share, config.crop_px)
    trainer = Trainer(config, out, processes)
    if config.autocast and not trainer.autocast and processes.leads:
        _LOG.info("this device does not compute in bfloat16: training in float32")
    if resume and trainer.load() and processes.leads:
        _LOG.info("resumed at step %d, minute %.1f", trainer.step, trainer.minutes)
    validation = cut_validation(config, kept) if processes.leads else None
    log = LossLog(out / LOSS_FILE, trainer.step) if processes.leads else None
    started = time.monotonic() - 60 * trainer.minutes
    paused, saved, validated = 0.0, trainer.minutes, trainer.minutes
    numbers = count(trainer.step * processes.count + processes.rank, processes.count)
    with closing(batches_ahead(dataset, numbers, config.workers)) as batches, log or nullcontext():
        while trainer.progress < 1.0:
            loss = trainer.advance(next(batches))
            trainer.minutes = processes.agree((time.monotonic() - started - paused) / 60)
            if log is None:
                continue
            smooth, rate = log.add(trainer.step, loss), trainer.learning_rate()
            line = f"step {trainer.step} minute {trainer.minutes:.1f} loss {smooth:.4f} rate {rate:.2e}"
            if on_step is not None:
                on_step(trainer.progress, line)
            if trainer.step % 20 == 0:
                _LOG.info(line)
            done = trainer.progress >= 1.0
            if validation is not None and (done or trainer.minutes - validated >= config.validation_minutes):
                before = time.monotonic()
                _validate(trainer, validation)
                paused += time.monotonic() - before
                validated = trainer.minutes
            if done or trainer.minutes - saved >= config.checkpoint_minutes:
                trainer.save()
                saved = trainer.minutes
    processes.leave()
    return out / "weights"
