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
    model_registered    that setting with the reference moved by the shift that LR tells; injection_oracle_registered
                        is the oracle with the same reference
    model_no_reference  default setting without a reference
    model_wrong_reference   default setting with another place's
    model_nfe<N>        N Euler steps

Parts: all pairs; "agreeing" ones, where the high bands of the two dates correlate by at least 0.4 as they lie;
"disagreeing" ones; and, within all pairs, blocks whose ground has changed between the dates and the others. Tiles and
blending are those of the mosaic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch

from dsdit.errors import RequestError
from dsdit.evaluation.case import Case, make_case, make_cases
from dsdit.evaluation.influence import Influence
from dsdit.evaluation.metrics import Array, Truth
from dsdit.evaluation.rows import make_rows
from dsdit.evaluation.sheet import write_sheet
from dsdit.imagery import FREE_LICENCES, read_pairs
from dsdit.model.weights import load_weights
from dsdit.sensor import EVALUATION_MTF, restore

Figures = dict[str, float]
Rows = dict[str, dict[str, Figures]]
__all__ = ["Case", "Rows", "evaluate", "make_case", "make_cases"]


def _mean(figures: list[Figures]) -> Figures:
    means = {name: round(float(np.mean([f[name] for f in figures])), 4) for name in figures[0]}
    return {**means, "pairs": len(figures)}


def _restored(name: str, picture: Array, case: Case) -> Array:
    return picture if name == "bicubic" else restore(picture, case.lr, case.scale, EVALUATION_MTF)


def evaluate(
    data: Path,
    weights: str | Path = "dsdit-tiny",
    split: str = "val",
    scale: int = 8,
    licences: Collection[str] | None = None,
    rows: Collection[str] | None = None,
    nfe: Collection[int] = (),
    limit: int | None = None,
    pictures: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, object]:
    """Measures `weights` on `data`/pairs: {"weights", "digest", "split", "scale", "rows", "reference_weight"}.

    `rows` is {row: {part: {psnr, ssim, .., pairs}}} with the metrics of `metrics.METRICS`, and for rows of the model
    `lr_error_before`, before restoring; `reference_weight` holds AUCs (`influence`). Parts are all, agreeing,
    disagreeing, changed, unchanged, and the same of images under the licences that shipped weights may be trained on:
    free_all and so on. `licences`, `rows` and `limit` narrow what is measured; `pictures` is a folder for one contact
    sheet a pair; `progress` is told (done, total). Raises RequestError where there is no pair to measure.
    """
    torch.set_num_threads(1)
    loaded = load_weights(weights)
    scenes = read_pairs(data, split, licences)[:limit]
    if not scenes:
        raise RequestError(f"{data}/pairs has no pair of split {split!r}: give --split, or another folder")
    figures: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
    previous = make_case(scenes[-1], scale)
    influence = Influence()
    for done, case in enumerate(make_cases(scenes, scale)):
        truth = Truth(case.hr, case.lr, case.restored, scale, loaded.config.curve_maximum)
        shown: dict[str, Array] = {}
        for name, make in make_rows(loaded, case, previous, nfe).items():
            if rows is not None and name not in rows:
                continue
            before = make()
            shown[name] = _restored(name, before, case)
            for part, found in truth.measure(shown[name], case.parts).items():
                if name.startswith("model"):
                    found["lr_error_before"] = truth.lr_error(before, case.parts[part])
                figures[name][part].append(found)
                if case.scene.licence_class in FREE_LICENCES:
                    figures[name][f"free_{part}"].append(found)
        if pictures is not None:
            write_sheet(pictures / f"{case.scene.id}.png", case, shown)
        if rows is None or "reference_weight" in rows:
            influence.add(loaded, case)
        previous = case
        if progress is not None:
            progress(done + 1, len(scenes))
    means: Rows = {row: {part: _mean(found) for part, found in parts.items()} for row, parts in figures.items()}
    return {
        "weights": loaded.config.name,
        "digest": loaded.digest,
        "split": split,
        "scale": scale,
        "rows": means,
        "reference_weight": influence.auc(),
    }
