"""How well weights do on pairs of dates whose truth is known, beside what needs no network at all.

LR is A(HR) with the evaluation MTF, in the display range that stands for reflectance 0..0.4. Every row but `bicubic`
is restored to LR afterwards, so that rows differ only in what they put above LR's band limit:

    bicubic             LR upsampled, and no more
    bicubic_restored    the same restored: what is known before any reference speaks
    reference           the matched reference
    injection           R + high band of the matched reference; _half adds half of it, _gain as much as LR's band
                        confirms place by place, _oracle the one share that the truth would choose
    model               the network with its reference in the weights' default setting
    model_faithful      the setting that aims at the posterior mean
    model_unregistered  that setting with the reference as it lies
    model_no_reference  default setting without a reference
    model_wrong_reference   default setting with another place's, in this one's radiometry; where there is another
    model_nfe<N>        N Euler steps

The model is given what the flow gives it: the reference moved by the shift that LR alone tells (`registration`). The
rows without a network take it as it lies; injection_oracle_registered is the oracle with the moved one.

Parts: all pairs; "agreeing" ones, where the high bands of the two dates correlate by at least 0.4 as they lie;
"disagreeing" ones; and, within all pairs, blocks whose ground has changed between the dates and the others. Tiles and
blending are those of the mosaic.
"""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsdit.errors import RequestError
from dsdit.evaluation.correctness import correctness_note
from dsdit.evaluation.influence import auc, joined
from dsdit.evaluation.measuring import INFLUENCE, Figures, Measured, Order, end_with_parent, measure
from dsdit.evaluation.pairs import Scene, read_pairs
from dsdit.evaluation.perceptual import lpips_note
from dsdit.evaluation.rows import ROWS, WRONG, nfe_row
from dsdit.model.weights import load_weights
from dsdit.plan.sampler_settings import SamplerDefaults
from dsdit.sampling.solver import SOLVERS

Rows = dict[str, dict[str, Figures]]
SCALES = (2, 16)
"""Least and largest scale, in HR pixels per LR pixel."""


def other_place(scenes: Sequence[Scene], number: int) -> Scene | None:
    """The nearest scene before `number` that shows another place, past the first one from the end; None without one."""
    place = scenes[number].place
    return next((s for k in range(1, len(scenes)) if (s := scenes[number - k]).place != place), None)


def _check(rows: Collection[str] | None, nfe: Collection[int], scale: int) -> None:
    """Raises RequestError for a row or a scale that is not known."""
    if not SCALES[0] <= scale <= SCALES[1]:
        raise RequestError(f"scale is {scale}: it must lie within {SCALES[0]} and {SCALES[1]}")
    known = [*ROWS, *map(nfe_row, nfe), INFLUENCE]
    unknown = sorted(set(rows or ()) - set(known))
    if unknown:
        raise RequestError(
            f"--row {', '.join(unknown)} is not known: use {', '.join(known)}, or model_nfe<N> with --nfe N"
        )


def _check_sampling(setting: SamplerDefaults, sampling: Mapping[str, Any]) -> None:
    """Raises RequestError where the setting cannot be so."""
    try:
        made = replace(setting, **sampling)
    except (TypeError, ValueError) as error:
        raise RequestError(f"sampling: {error}") from error
    if made.solver not in SOLVERS:
        raise RequestError(f"--solver {made.solver!r} is not known: use one of {', '.join(SOLVERS)}")


def _mean(figures: list[Figures]) -> Figures:
    means = {name: round(float(np.mean([f[name] for f in figures])), 4) for name in figures[0]}
    return {**means, "pairs": len(figures)}


def evaluate(
    data: Path,
    weights: str | Path = "dsdit-tiny",
    split: str = "val",
    scale: int = 8,
    licences: Collection[str] | None = None,
    rows: Collection[str] | None = None,
    nfe: Collection[int] = (),
    every: int = 1,
    pictures: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
    sampling: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measures `weights` on `data`/pairs: {"weights", "digest", "split", "scale", "rows", "reference_weight", "notes"}.

    `rows` is {row: {part: {psnr, ssim, .., pairs}}} with the metrics of `metrics.METRICS`, and for rows of the model
    `lr_error_before`, before restoring; `reference_weight` holds AUCs (`influence`), `notes` sentences about what was
    left out. Parts are all, agreeing, disagreeing, changed, unchanged, and the same of images under the licences that
    shipped weights may be trained on: free_all and so on. `licences`, `rows` and `every` (each N-th pair) narrow what
    is measured; `pictures` is a folder for one contact sheet a pair; `progress` is told (done, total). With more than
    one of `workers` pairs are measured in processes of their own; figures do not depend on it. `sampling` replaces
    parts of both settings of the weights, by names of `SamplerDefaults`, and stands in the record where it is given.
    The network runs on `device`, "cpu" or "cuda", in float32. Raises RequestError where there is no pair to measure,
    and for rows, scales, settings and devices that are not known.
    """
    _check(rows, nfe, scale)
    if device != "cpu" and not (device == "cuda" and torch.cuda.is_available()):
        raise RequestError(f"--device {device!r} is not on this machine: use cpu, or cuda where torch sees a GPU")
    loaded = load_weights(weights)
    for setting in (loaded.config.sampler, loaded.config.faithful):
        _check_sampling(setting, sampling or {})
    scenes = read_pairs(data, split, licences)
    if not scenes:
        raise RequestError(f"{data}/pairs has no pair of split {split!r}: give --split, or another folder")
    chosen = None if rows is None else tuple(rows)
    orders = [
        Order(str(weights), scene, other_place(scenes, k), scale, chosen, tuple(nfe), pictures, sampling or {}, device)
        for k, scene in list(enumerate(scenes))[::every]
    ]
    measured: list[Measured | None] = [None] * len(orders)

    def keep(number: int, found: Measured) -> None:
        measured[number] = found
        if progress is not None:
            progress(len(orders) - measured.count(None), len(orders))

    if workers == 1:
        for number, order in enumerate(orders):
            keep(number, measure(order))
    else:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent) as pool:
            numbers = {pool.submit(measure, order): number for number, order in enumerate(orders)}
            for done in as_completed(numbers):
                keep(numbers[done], done.result())
    found = [each for each in measured if each is not None]
    figures: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
    for each in found:
        for row, parts in each.figures.items():
            for part, values in parts.items():
                figures[row][part].append(values)
    alone = [order.scene.id for order in orders if order.other is None and (rows is None or WRONG in rows)]
    notes = [f"{WRONG} is left out of {len(alone)} pairs: there is no pair of another place"] if alone else []
    notes += [note for note in (lpips_note(), correctness_note()) if note is not None]
    means: Rows = {row: {part: _mean(values) for part, values in parts.items()} for row, parts in figures.items()}
    return {
        "weights": loaded.config.name,
        "digest": loaded.digest,
        "split": split,
        "scale": scale,
        **({"sampling": dict(sampling)} if sampling else {}),
        "rows": means,
        "reference_weight": auc(joined(each.influence for each in found)),
        "notes": notes,
    }
