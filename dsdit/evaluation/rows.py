"""The rows of an evaluation, (3, H, W) scaled each: baselines without a network, and the network in its settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dsdit.evaluation.case import Case
from dsdit.evaluation.metrics import band
from dsdit.evaluation.pairs import Scene, matched_to_lr, scaled
from dsdit.imaging.sensor import EVALUATION_MTF, recover, upsample
from dsdit.model.weights import Weights
from dsdit.plan.sampler_settings import SamplerDefaults
from dsdit.sampling.picture import super_resolve

Array = NDArray[np.float32]
_GAIN_SIGMA_LR = 3.0
WITHOUT_REFERENCE = ("bicubic", "bicubic_restored", "model_no_reference")
"""Rows that see no reference."""
WRONG = "model_wrong_reference"
"""The row that needs a second place."""
ROWS = (
    "bicubic",
    "bicubic_restored",
    "reference",
    "injection",
    "injection_gain",
    "injection_half",
    "injection_oracle",
    "injection_oracle_registered",
    "model",
    "model_faithful",
    "model_unregistered",
    "model_no_reference",
    WRONG,
)
"""Names of the rows; with `nfe` those of `nfe_row` are added."""


def nfe_row(steps: int) -> str:
    """Name of the row of so many Euler steps."""
    return f"model_nfe{steps}"


def local_gain(case: Case) -> Array:
    """(H, W) in 0..1: how much of the reference's middle band LR confirms, within about 3 LR pixels.

    The regression of LR's band from 1/4 to 1 of its Nyquist frequency on the reference's, weighted by a Gaussian.
    """
    nyquist = 0.5 / case.scale
    smooth = recover(case.lr, case.scale, EVALUATION_MTF)
    true, ref = band(smooth, nyquist / 4, nyquist), band(case.ref, nyquist / 4, nyquist)
    sigma = _GAIN_SIGMA_LR * case.scale
    together = gaussian_filter((true * ref).sum(0), sigma)
    alone = gaussian_filter(np.square(ref).sum(0), sigma)
    gain: Array = np.clip(together / np.maximum(alone, 1e-8), 0, 1).astype(np.float32)
    return gain


def oracle_gain(case: Case, detail: Array) -> np.float32:
    """The one gain of a reference's high band that comes nearest to the truth; it looks at the truth."""
    missing = case.hr - case.restored
    energy = float(np.square(detail, dtype=np.float64).sum())
    return np.float32(float((missing.astype(np.float64) * detail).sum()) / max(energy, 1e-12))


def other_reference(case: Case, other: Scene) -> Array:
    """The reference of another place, in this place's radiometry and size; a smaller one is extended by reflection."""
    assert other.ref is not None
    ref = matched_to_lr(scaled(other.ref, case.scale), case.lr, case.scale)
    height, width = case.hr.shape[1:]
    missing = [(0, max(0, n - have)) for n, have in zip((height, width), ref.shape[1:], strict=True)]
    return np.pad(ref, [(0, 0), *missing], mode="symmetric")[:, :height, :width]


def make_rows(
    weights: Weights,
    case: Case,
    other: Scene | None,
    nfe: Collection[int] = (),
    sampling: Mapping[str, Any] | None = None,
) -> dict[str, Callable[[], Array]]:
    """Each row's picture, computed when called and not yet restored to LR. `other` provides the wrong reference.

    Without another place there is no row of a wrong reference. `sampling` replaces parts of both settings.
    """
    default, faithful = (replace(s, **(sampling or {})) for s in (weights.config.sampler, weights.config.faithful))

    def network(settings: SamplerDefaults, ref: Callable[[], Array] | None) -> Callable[[], Array]:
        return lambda: super_resolve(weights, case.lr, case.scale, None if ref is None else ref(), settings)

    rows: dict[str, Callable[[], Array]] = {
        "bicubic": lambda: upsample(case.lr, case.scale),
        "bicubic_restored": lambda: upsample(case.lr, case.scale),
        "reference": lambda: case.ref,
        "injection": lambda: case.restored + case.detail,
        "injection_gain": lambda: case.restored + local_gain(case) * case.detail,
        "injection_half": lambda: case.restored + case.detail * np.float32(0.5),
        "injection_oracle": lambda: case.restored + oracle_gain(case, case.detail) * case.detail,
        "injection_oracle_registered": lambda: case.restored + oracle_gain(case, case.moved_detail) * case.moved_detail,
        "model": network(default, lambda: case.registered),
        "model_faithful": network(faithful, lambda: case.registered),
        "model_unregistered": network(faithful, lambda: case.ref),
        "model_no_reference": network(default, None),
    }
    if other is not None:
        rows[WRONG] = network(default, lambda: other_reference(case, other))
    for count in nfe:
        rows[nfe_row(count)] = network(replace(faithful, steps=count), lambda: case.registered)
    return rows
