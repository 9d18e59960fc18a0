"""`evaluate`: figures of weights, and of baselines without a network, on pairs of dates whose truth is known.

LR is A(HR) with the evaluation MTF, in the display range, which is reflectance 0..0.4. Every row but `bicubic`
is restored to LR afterwards, so that rows differ only above LR's band limit:

    bicubic             LR upsampled only
    bicubic_restored    the same restored to LR: what LR determines alone
    reference           the matched reference
    injection           R + high band of the matched reference; _half adds half of it, _gain as much as LR's band
                        confirms locally, _oracle the one share with the smallest error against the truth
    model               the network with its reference in the weights' default setting
    model_faithful      the setting that aims at the posterior mean
    model_unregistered  that setting with the reference not registered
    model_no_reference  default setting without a reference
    model_wrong_reference   default setting with another place's, in this one's radiometry; where there is another
    model_nfe<N>        N Euler steps

The model gets the same input as in the flow: the reference moved by the shift that is estimated from LR (`shift`). The
rows without a network use it unmoved; injection_oracle_registered is the oracle with the moved one.

Parts: all pairs; "agreeing" ones, where the high bands of the two dates correlate by at least 0.4 without registration;
"disagreeing" ones; and, within all pairs, blocks whose ground has changed between the dates and the others. Tiles and
blending are those of the mosaic.
"""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dsdit.errors import RequestError
from dsdit.evaluation.correctness import correctness_note
from dsdit.evaluation.influence import auc, joined
from dsdit.evaluation.measure_pair import Figures, Measured, PairTask, end_with_parent, measure_pair
from dsdit.evaluation.options import EvaluationOptions
from dsdit.evaluation.pairs import Scene, read_pairs
from dsdit.evaluation.perceptual import lpips_note
from dsdit.evaluation.rows import WRONG
from dsdit.model.weights import Weights, load_weights

Rows = dict[str, dict[str, Figures]]
"""{row: {part: {metric: value}}}."""


def other_place(scenes: Sequence[Scene], number: int) -> Scene | None:
    """The nearest scene before `number` of another place, continuing from the end; None where there is none."""
    place = scenes[number].place
    return next((s for k in range(1, len(scenes)) if (s := scenes[number - k]).place != place), None)


def _load(options: EvaluationOptions) -> Weights:
    """The weights, after all checks that need no image."""
    options.check()
    loaded = load_weights(options.weights)
    for setting in (loaded.config.sampler, loaded.config.faithful):
        options.check_setting(setting)
    return loaded


def _tasks(data: Path, options: EvaluationOptions) -> list[PairTask]:
    scenes = read_pairs(data, options.split, options.licences)
    if not scenes:
        raise RequestError(f"{data}/pairs has no pair of split {options.split!r}: give --split, or another folder")
    return [
        PairTask(scene, other_place(scenes, number), options)
        for number, scene in list(enumerate(scenes))[:: options.every]
    ]


def _measured(tasks: list[PairTask], workers: int) -> Iterator[tuple[int, Measured]]:
    """(number of the task, its result) as they end; several workers are processes of their own."""
    if workers == 1:
        yield from ((number, measure_pair(task)) for number, task in enumerate(tasks))
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        numbers = {pool.submit(measure_pair, task): number for number, task in enumerate(tasks)}
        for done in as_completed(numbers):
            yield numbers[done], done.result()


def _mean(figures: list[Figures]) -> Figures:
    means = {name: round(float(np.mean([f[name] for f in figures])), 4) for name in figures[0]}
    return {**means, "pairs": len(figures)}


def _mean_rows(results: Sequence[Measured]) -> Rows:
    figures: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
    for each in results:
        for row, parts in each.figures.items():
            for part, values in parts.items():
                figures[row][part].append(values)
    return {row: {part: _mean(values) for part, values in parts.items()} for row, parts in figures.items()}


def _notes(tasks: Collection[PairTask]) -> list[str]:
    alone = sum(task.other is None and task.options.wants(WRONG) for task in tasks)
    notes = [f"{WRONG} is left out of {alone} pairs: there is no pair of another place"] if alone else []
    return notes + [note for note in (lpips_note(), correctness_note()) if note is not None]


def evaluate(
    data: Path,
    weights: str | Path | None = None,
    *,
    options: EvaluationOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    **keywords: Any,
) -> dict[str, Any]:
    """Measures weights on `data`/pairs: {"weights", "digest", "split", "scale", "rows", "reference_weight", "notes"}.

    `weights` and `keywords` replace fields of `options` (`EvaluationOptions`). `progress` is called with (done, total).
    "rows" is {row: {part: {psnr, ssim, .., pairs}}} with the metrics of `metrics.METRICS`, and for rows of the model
    `lr_error_before`, before restoring; "reference_weight" holds AUCs (`influence`), "notes" sentences about what was
    left out, "sampling" what the options replace, where they replace something. Parts are all, agreeing, disagreeing,
    changed, unchanged, and the same of images under the licences that shipped weights may be trained on: free_all and
    so on. Raises RequestError where there is no pair to measure, and for rows, scales, settings and devices that are
    not known; TypeError for an unknown keyword.
    """
    named: dict[str, Any] = {} if weights is None else {"weights": str(weights)}
    chosen = replace(options or EvaluationOptions(), **named, **keywords)
    loaded = _load(chosen)
    tasks = _tasks(data, chosen)
    found: dict[int, Measured] = {}
    for number, result in _measured(tasks, chosen.workers):
        found[number] = result
        if progress is not None:
            progress(len(found), len(tasks))
    results = [found[number] for number in range(len(tasks))]
    return {
        "weights": loaded.config.name,
        "digest": loaded.digest,
        "split": chosen.split,
        "scale": chosen.scale,
        **({"sampling": dict(chosen.sampling)} if chosen.sampling else {}),
        "rows": _mean_rows(results),
        "reference_weight": auc(joined(each.influence for each in results)),
        "notes": _notes(tasks),
    }
