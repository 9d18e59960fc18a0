"""Shares of improvement, omission and hallucination in the sense of opensr-test (Aybar et al. 2024).

Fractional differences of a picture to the truth and to the upsampled LR, both over that between truth and upsampled LR;
distances to the three corners of that plane; softmin between them. Pixels count where one of the differences is above
the upper quartile of that between truth and upsampled LR. Where the package is installed (extra `quality`) its own
functions compute them; they need neither a GPU nor a network. Elsewhere `own_shares` does, with the package's defaults.
Pictures are not matched to the truth before, neither in radiometry nor in position: all are consistent with one LR.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module, metadata
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float32]
SHARES = ("improvement", "omission", "hallucination")
"""Names of the shares, in their order."""
_CALIBRATION = 0.05
_TEMPERATURE = 0.25
_STRONG = 0.75
_LEAST = 1e-6


@lru_cache(maxsize=1)
def package() -> Any | None:
    """opensr_test, or None where it is not installed or cannot be loaded with this torch."""
    try:
        import_module("opensr_test.correctness")
        return import_module("opensr_test")
    except (ImportError, RuntimeError, OSError):  # RuntimeError: a torchvision built for another torch
        return None


def correctness_note() -> str:
    """Which implementation computes the shares, in a sentence."""
    if package() is None:
        return (
            "improvement, omission and hallucination are computed by dsdit with the defaults of opensr-test, "
            "which is not installed: pip install 'dsdit[quality]' for its own"
        )
    return f"improvement, omission and hallucination are computed by opensr-test {metadata.version('opensr-test')}"


def shares(sr: Array, hr: Array, smooth: Array) -> Array:
    """(H, W, 3) in [0, 1] three times -> (3, H, W) in the order of SHARES; NaN where pictures differ little."""
    found = package()
    return own_shares(sr, hr, smooth) if found is None else package_shares(found, sr, hr, smooth)


def own_shares(sr: Array, hr: Array, smooth: Array) -> Array:
    """`shares` without the package."""

    def difference(a: Array, b: Array) -> Array:
        return np.asarray((np.abs(a - b) / (a + b + 1e-8)).mean(-1), np.float32)

    between, wrong, new = difference(smooth, hr), difference(sr, hr), difference(sr, smooth)
    threshold = _threshold(between)
    strong = (between > threshold) | (wrong > threshold) | (new > threshold)
    unit = np.maximum(between, _LEAST)
    im, om = wrong / unit, new / unit
    beyond = 1 - np.exp(-(im + om - 1) * _CALIBRATION)
    distance = np.stack([im + om * beyond, om + im * beyond, np.exp(-im * om * _CALIBRATION)])
    weight = np.exp(-(distance - distance.min(0)) / _TEMPERATURE)
    return np.where(strong, weight / weight.sum(0), np.nan).astype(np.float32)


def package_shares(opensr_test: Any, sr: Array, hr: Array, smooth: Array) -> Array:
    """`shares` by the package's functions and defaults, a pixel at a time."""
    stage, config = opensr_test.correctness, opensr_test.Config()
    pictures = (torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))) for p in (smooth, sr, hr))
    between, wrong, new = stage.get_distances(
        *pictures, distance_method=config.correctness_distance, agg_method=config.agg_method
    )
    threshold = _threshold(between.numpy())
    strong = (between > threshold) | (wrong > threshold) | (new > threshold)
    unit = between.clamp_min(_LEAST)
    im, om = wrong / unit, new / unit
    found = stage.get_correctness_stats(
        stage.tc_improvement(im, om, config.im_score),
        stage.tc_omission(im, om, config.om_score),
        stage.tc_hallucination(im, om, config.ha_score),
        strong.float(),
        config.correctness_norm,
        config.correctness_temperature,
    )
    return np.where(strong.numpy(), found["tensor_stack"].numpy(), np.nan).astype(np.float32)


def _threshold(between: Array) -> np.float32:
    """The upper quartile as the package takes it: one of the values, not interpolated."""
    return np.float32(np.quantile(between, _STRONG, method="lower"))
