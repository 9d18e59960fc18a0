"""Metrics of a super-resolved picture against its truth: one map for each metric and its mean over a mask.

Pictures are (3, H, W) scaled to [-1, 1]; metrics convert them to display values in [0, 1]. Every metric is
taken within a mask, so that parts of a picture (changed or unchanged ground) are measured like the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import flip_evaluator
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from dsdit.evaluation.correctness import SHARES, shares
from dsdit.evaluation.perceptual import lpips_map
from dsdit.imaging.sensor import EVALUATION_MTF, decimate

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
METRICS = (
    "psnr",
    "ssim",
    "hb_corr",
    "hb_energy",
    "lr_error",
    "sam",
    "flip",
    *SHARES,
)
"""Names of the figures of a row and part; `lpips` is added where it can be had (`perceptual`)."""
_MEANS = ("ssim", "lr_error", "sam", "flip", "lpips")


def psnr_db(sr: Array, hr: Array) -> float:
    """Peak signal-to-noise ratio in dB of scaled pictures, whose range is 2."""
    error = float(np.square(sr.astype(np.float64) - hr).mean())
    return 10 * float(np.log10(4 / max(error, 1e-12)))


def display(picture: Array) -> Array:
    """(3, H, W) in [-1, 1] -> (H, W, 3) in [0, 1], clipped."""
    return np.ascontiguousarray(np.clip(picture * 0.5 + 0.5, 0, 1).transpose(1, 2, 0), np.float32)


def band(picture: Array, low: float, high: float) -> Array:
    """The part of (3, H, W) in the square band low < max(|fy|, |fx|) <= high, in cycles a pixel, by FFT."""
    spectrum = np.fft.rfft2(picture.astype(np.float64))
    fy = np.abs(np.fft.fftfreq(picture.shape[-2]))[:, None]
    fx = np.abs(np.fft.rfftfreq(picture.shape[-1]))[None]
    frequency = np.maximum(fy, fx)
    keep = (frequency > low) & (frequency <= high)
    return np.asarray(np.fft.irfft2(spectrum * keep, picture.shape[-2:]), np.float32)


def above_nyquist(picture: Array, scale: int) -> Array:
    """The part of (3, H, W) above the LR Nyquist frequency in y or x, by FFT."""
    return band(picture, 0.5 / scale, 1.0)


def correlation(a: Array, b: Array) -> float:
    """Pearson's correlation over all values; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(np.square(a, dtype=np.float64).sum() * np.square(b, dtype=np.float64).sum()))
    return float((a.astype(np.float64) * b).sum()) / norm if norm > 0 else 0.0


def ssim_map(sr: Array, hr: Array) -> Array:
    """(H, W, 3) twice -> (H, W) structural similarity (Wang et al. 2004), Gaussian of 1.5 px, mean over bands."""
    _, similar = structural_similarity(
        sr,
        hr,
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return np.asarray(similar.mean(-1), np.float32)


def spectral_angle(sr: Array, hr: Array) -> Array:
    """(H, W, 3) twice -> (H, W) angle in degrees between the two spectra (Kruse et al. 1993)."""
    dot = (sr * hr).sum(-1)
    norm = np.sqrt(np.square(sr).sum(-1) * np.square(hr).sum(-1))
    angle: Array = np.degrees(np.arccos(np.clip(dot / np.maximum(norm, 1e-6), -1, 1))).astype(np.float32)
    return angle


@dataclass(frozen=True)
class Truth:
    """The truth that pictures of one pair are compared with; built once a pair."""

    hr: Array
    """(3, H, W) scaled."""
    lr: Array
    """(3, H / scale, W / scale) scaled, A(HR)."""
    smooth: Array
    """(3, H, W) scaled, LR upsampled: what omits all detail."""
    scale: int
    maximum: float
    """Reflectance of +1."""

    def measure(self, sr: Array, masks: dict[str, Mask]) -> dict[str, dict[str, float]]:
        """{part: figures} for each mask (H, W); parts without a pixel are left out."""
        maps = dict(self._maps(sr))
        return {part: self._figures(maps, mask) for part, mask in masks.items() if mask.any()}

    def lr_error(self, sr: Array, mask: Mask) -> float:
        """Mean |A(sr) - lr| as reflectance within the mask (H, W)."""
        return float(self._lr_error(sr)[mask].mean(dtype=np.float64))

    def _lr_error(self, sr: Array) -> Array:
        error = np.abs(decimate(sr, self.scale, EVALUATION_MTF) - self.lr).mean(0) * np.float32(self.maximum / 2)
        return np.repeat(np.repeat(error, self.scale, 0), self.scale, 1)

    def _maps(self, sr: Array) -> Iterator[tuple[str, Array]]:
        ours, truth, smooth = display(sr), display(self.hr), display(self.smooth)
        yield "error", np.square(ours - truth).mean(-1)
        yield "ssim", ssim_map(ours, truth)
        yield "high", above_nyquist(sr, self.scale)
        yield "high_truth", above_nyquist(self.hr, self.scale)
        yield "lr_error", self._lr_error(sr)
        yield "sam", spectral_angle(ours, truth)
        yield "flip", flip_evaluator.evaluate(truth, ours, "LDR", applyMagma=False)[0][..., 0]
        if (distance := lpips_map(ours, truth)) is not None:
            yield "lpips", distance
        yield from zip(SHARES, shares(ours, truth, smooth), strict=True)

    @staticmethod
    def _figures(maps: dict[str, Array], mask: Mask) -> dict[str, float]:
        high, truth = maps["high"][:, mask], maps["high_truth"][:, mask]
        figures = {
            "psnr": -10 * float(np.log10(max(float(maps["error"][mask].mean(dtype=np.float64)), 1e-12))),
            "hb_corr": correlation(high, truth),
            "hb_energy": float(high.var() / max(float(truth.var()), 1e-12)),
        }
        for name in maps.keys() & _MEANS:
            figures[name] = float(maps[name][mask].mean(dtype=np.float64))
        for name in SHARES:
            values = maps[name][mask]
            figures[name] = float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
        return {name: figures[name] for name in (*METRICS, "lpips") if name in figures}
