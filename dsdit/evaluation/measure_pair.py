"""Metrics of one pair in every row; run by the worker processes of an evaluation."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import parent_process

import numpy as np
import torch

from dsdit.evaluation.case import Case, make_case
from dsdit.evaluation.influence import Blocks, influence_blocks
from dsdit.evaluation.metrics import Array, Truth
from dsdit.evaluation.options import INFLUENCE, EvaluationOptions
from dsdit.evaluation.pairs import FREE_LICENCES, Scene
from dsdit.evaluation.rows import WITHOUT_REFERENCE, make_rows
from dsdit.evaluation.sheet import write_sheet
from dsdit.imaging.bounds import reflectance_bounds, restore_within
from dsdit.imaging.radiometry import Curve
from dsdit.imaging.sensor import EVALUATION_MTF
from dsdit.malloc import keep_freed_memory
from dsdit.model.weights import Weights, load_weights

Figures = dict[str, float]


@dataclass(frozen=True)
class PairTask:
    """One pair to evaluate."""

    scene: Scene
    """The pair."""
    other: Scene | None
    """Another place, whose reference is the wrong one; None where there is none."""
    options: EvaluationOptions
    """What is evaluated."""


@dataclass(frozen=True)
class Measured:
    """Results of one pair."""

    figures: dict[str, dict[str, Figures]]
    """{row: {part: {metric: value}}}."""
    influence: Blocks
    """Values of each candidate for `reference_weight` in the pair's blocks; empty where the row is not selected."""


@lru_cache(maxsize=1)
def _weights(name: str, device: str) -> Weights:
    torch.set_num_threads(1)
    keep_freed_memory()
    return load_weights(name, device)


def end_with_parent() -> None:
    """Ends this worker process as soon as the process that started it has ended, for whatever reason."""

    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def measure_pair(task: PairTask) -> Measured:
    """Every row of one pair. Raises RequestError, WeightsError."""
    options = task.options
    weights, case = _weights(options.weights, options.device), make_case(task.scene, options.scale)
    truth = Truth(case.hr, case.lr, case.restored, case.scale, weights.config.curve_maximum)
    figures: dict[str, dict[str, Figures]] = {}
    shown: dict[str, Array] = {}
    for name, make in make_rows(weights, case, task.other, options.nfe, options.sampling).items():
        if not options.wants(name):
            continue
        before = make()
        shown[name] = _restored(name, before, case, Curve(weights.config.curve_maximum))
        figures[name] = _parts(name, before, shown[name], case, truth)
    if options.pictures is not None:
        write_sheet(options.pictures / f"{case.scene.id}.png", case, shown)
    return Measured(figures, influence_blocks(weights, case) if options.wants(INFLUENCE) else {})


def _parts(name: str, before: Array, picture: Array, case: Case, truth: Truth) -> dict[str, Figures]:
    """Metrics of one row, `before` and after restoring, in each part; also under free_ where the licence is free."""
    parts: dict[str, Figures] = {}
    for part, found in truth.measure(picture, case.parts).items():
        if name.startswith("model"):
            found["lr_error_before"] = truth.lr_error(before, case.parts[part])
        parts[part] = found
        if case.scene.licence_class in FREE_LICENCES:
            parts[f"free_{part}"] = found
    return parts


def _restored(name: str, picture: Array, case: Case, curve: Curve) -> Array:
    """LR truth restored within bounds, as in a mosaic, but for the row that shows plain interpolation."""
    if name == "bicubic":
        return picture
    lr = curve.inverse(case.lr)
    referenced = np.full(picture.shape[1:], name not in WITHOUT_REFERENCE)
    bounds = reflectance_bounds(lr, case.scale, referenced)
    return curve.forward(restore_within(curve.inverse(picture), lr, case.scale, EVALUATION_MTF, bounds))
