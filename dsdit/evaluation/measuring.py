"""One pair, measured in every row. Several processes may each measure some of the pairs."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import torch

from dsdit.evaluation.case import Case, make_case
from dsdit.evaluation.influence import Blocks, influence_blocks
from dsdit.evaluation.metrics import Array, Truth
from dsdit.evaluation.pairs import FREE_LICENCES, Scene
from dsdit.evaluation.rows import make_rows
from dsdit.evaluation.sheet import write_sheet
from dsdit.imaging.sensor import EVALUATION_MTF, restore
from dsdit.malloc import keep_freed_memory
from dsdit.model.weights import Weights, load_weights

Figures = dict[str, float]
INFLUENCE = "reference_weight"
"""What asks, among the rows, for the AUCs of `influence`."""


@dataclass(frozen=True)
class Order:
    """What is to be measured of one pair."""

    weights: str
    """Shipped name or folder."""
    scene: Scene
    """The pair."""
    other: Scene | None
    """Another place, which lends the wrong reference; None where there is none."""
    scale: int
    rows: Collection[str] | None
    """Names of rows, or None for all of them."""
    nfe: Collection[int]
    """Numbers of Euler steps, each a row more."""
    pictures: Path | None
    """Folder for a contact sheet."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """What replaces parts of the weights' settings, by names of `SamplerDefaults`."""
    device: str = "cpu"
    """Where the network runs."""


@dataclass(frozen=True)
class Measured:
    """What was found about one pair."""

    figures: dict[str, dict[str, Figures]]
    """{row: {part: {metric: value}}}."""
    influence: Blocks
    """What each candidate for `reference_weight` says about the pair's blocks; empty where it was not asked for."""


@lru_cache(maxsize=1)
def _weights(name: str, device: str) -> Weights:
    torch.set_num_threads(1)
    keep_freed_memory()
    return load_weights(name, device)


def end_with_parent() -> None:
    """Ends this worker process as soon as the one that started it is gone, however it went."""

    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def measure(order: Order) -> Measured:
    """Every row of one pair. Raises RequestError, WeightsError."""
    weights, scale = _weights(order.weights, order.device), order.scale
    case = make_case(order.scene, scale)
    truth = Truth(case.hr, case.lr, case.restored, scale, weights.config.curve_maximum)
    figures: dict[str, dict[str, Figures]] = {}
    shown: dict[str, Array] = {}
    for name, make in make_rows(weights, case, order.other, order.nfe, order.sampling).items():
        if order.rows is not None and name not in order.rows:
            continue
        before = make()
        shown[name] = _restored(name, before, case)
        figures[name] = {}
        for part, found in truth.measure(shown[name], case.parts).items():
            if name.startswith("model"):
                found["lr_error_before"] = truth.lr_error(before, case.parts[part])
            figures[name][part] = found
            if case.scene.licence_class in FREE_LICENCES:
                figures[name][f"free_{part}"] = found
    if order.pictures is not None:
        write_sheet(order.pictures / f"{case.scene.id}.png", case, shown)
    wanted = order.rows is None or INFLUENCE in order.rows
    return Measured(figures, influence_blocks(weights, case) if wanted else {})


def _restored(name: str, picture: Array, case: Case) -> Array:
    return picture if name == "bicubic" else restore(picture, case.lr, case.scale, EVALUATION_MTF)
