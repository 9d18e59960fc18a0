"""How well weights do on pairs of dates whose truth is known, beside what needs no network at all.

LR is A(HR) with the evaluation MTF, in the display range that stands for reflectance 0..0.4. Every row but `bicubic`
is restored to LR afterwards, so that rows differ only in what they put above LR's band limit:

    bicubic             LR upsampled, and no more
    bicubic_restored    R, what is known before any reference speaks
    injection           R + high band of the matched reference; injection_half adds half of it
    model               default sampling: the network with its reference
    model_no_reference  the same without one
    model_wrong_reference   the same with another place's
    model_nfe<N>        N Euler steps instead of the default

Parts: all pairs; "agreeing" ones, where the high bands of the two dates correlate by at least 0.4 as they lie; and
"disagreeing" ones. Tiles and blending are those of the mosaic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dsdit.blend import blend, feather
from dsdit.model.weights import Weights, load_weights
from dsdit.radiometry import Curve
from dsdit.sampling.schedule import spaced_sigmas
from dsdit.sampling.solver import sample
from dsdit.sensor import EVALUATION_MTF, bicubic_restored, decimate, high_band, restore, upsample
from dsdit.tiling import default_tile
from dsdit.training.config import ALLOWED_LICENCES
from dsdit.training.imagery import Scene, matched_pair, read_pairs
from dsdit.training.validation import psnr_db
from dsdit.window import Window

Array = NDArray[np.float32]
Rows = dict[str, dict[str, dict[str, float]]]
AGREEING = 0.4
"""Correlation of the dates' high bands from which a pair counts as agreeing."""
BATCH = 8
"""Tiles a network pass."""


@dataclass(frozen=True)
class Case:
    """One pair, ready for every row; pictures are (3, H, W) scaled."""

    scene: Scene
    """Where it comes from."""
    hr: Array
    """Truth."""
    ref: Array
    """Reference, matched to LR over the whole picture."""
    lr: Array
    """A(HR), (3, H / scale, W / scale)."""
    restored: Array
    """R."""
    detail: Array
    """High band of `ref`."""
    agreement: float
    """Correlation of the dates' high bands."""


def above_nyquist(picture: Array, scale: int) -> Array:
    """What of (3, H, W) lies above the LR Nyquist frequency in y or x, by FFT."""
    spectrum = np.fft.rfft2(picture.astype(np.float64))
    fy = np.abs(np.fft.fftfreq(picture.shape[-2]))[:, None]
    fx = np.abs(np.fft.rfftfreq(picture.shape[-1]))[None]
    keep = (fy > 0.5 / scale) | (fx > 0.5 / scale)
    return np.asarray(np.fft.irfft2(spectrum * keep, picture.shape[-2:]), np.float32)


def correlation(a: Array, b: Array) -> float:
    """Pearson's correlation over all values; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(np.square(a, dtype=np.float64).sum() * np.square(b, dtype=np.float64).sum()))
    return float((a.astype(np.float64) * b).sum()) / norm if norm > 0 else 0.0


def measure(sr: Array, case: Case, scale: int, curve: Curve) -> dict[str, float]:
    """psnr in dB of display values; hb_corr and hb_energy above the LR Nyquist; lr_error in reflectance."""
    truth, ours = above_nyquist(case.hr, scale), above_nyquist(sr, scale)
    error = np.abs(decimate(sr, scale, EVALUATION_MTF) - case.lr).mean()
    return {
        "psnr": psnr_db(np.clip(sr, -1, 1), case.hr),
        "hb_corr": correlation(ours, truth),
        "hb_energy": float(ours.var() / max(float(truth.var()), 1e-12)),
        "lr_error": float(error) * curve.maximum / 2,
    }


def cases(scenes: Collection[Scene], scale: int) -> Iterator[Case]:
    """The pairs with simulated LR, one at a time."""
    for scene in scenes:
        hr, ref = matched_pair(scene, scale)
        lr = decimate(hr, scale, EVALUATION_MTF)
        agreement = correlation(above_nyquist(hr, scale), above_nyquist(ref, scale))
        restored, detail = bicubic_restored(lr, scale, EVALUATION_MTF), high_band(ref, scale, EVALUATION_MTF)
        yield Case(scene, hr, ref, lr, restored, detail, agreement)


def super_resolve(
    weights: Weights, case: Case, scale: int, steps: int = 1, reference: tuple[Array, Array] | None = None
) -> Array:
    """The network's picture (3, H, W) scaled, tile by tile, not yet restored.

    `reference` is a matched reference and its high band; None runs without one. Noise is drawn from seed 0.
    """
    model = weights.model
    tile, overlap = default_tile(model.token_px, scale)
    height, width = case.hr.shape[1:]
    places = [
        Window(row, col, row + tile, col + tile)
        for row in range(0, max(height - overlap, 1), tile - overlap)
        for col in range(0, max(width - overlap, 1), tile - overlap)
    ]
    ref, detail = reference or (case.restored, np.zeros_like(case.restored))
    pictures = np.pad(np.stack([case.restored, ref, detail]), ((0, 0), (0, 0), (0, tile), (0, tile)), mode="edge")
    tiles: list[tuple[Window, Array]] = []
    generator = torch.Generator().manual_seed(0)
    for first in range(0, len(places), BATCH):
        some = places[first : first + BATCH]
        cuts = np.stack([pictures[..., p.row0 : p.row1, p.col0 : p.col1] for p in some], axis=1)
        valid = np.full((len(some), tile, tile), reference is not None)
        with torch.inference_mode():
            given = model.conditions(cuts[0], cuts[1], valid, cuts[2], scale)
            noise = torch.randn(len(some), *model.latent_shape(tile, tile), generator=generator)
            latent = sample(
                lambda z, s, given=given: model.velocity(z, s, given),  # type: ignore[misc]
                noise.to(model.device, model.dtype),
                spaced_sigmas(steps),
            )
            decoded = model.decode(latent, cuts[0]).float().cpu().numpy()
        tiles.extend(zip(some, decoded, strict=True))
    picture, _ = blend(Window(0, 0, height, width), tiles, feather(tile, overlap), 3)
    return picture


def pictures(
    weights: Weights, case: Case, other: Case, scale: int, nfe: Collection[int] = ()
) -> dict[str, Callable[[], Array]]:
    """Each row's picture, made when called. `other` lends the wrong reference, shown as it fits its own place."""
    steps = weights.config.sampler.steps
    h, w = (min(a, b) for a, b in zip(case.hr.shape[1:], other.hr.shape[1:], strict=True))
    wrong = case.restored.copy(), np.zeros_like(case.detail)
    for own, strange in zip(wrong, (other.ref, other.detail), strict=True):
        own[:, :h, :w] = strange[:, :h, :w]
    right = case.ref, case.detail
    rows: dict[str, Callable[[], Array]] = {
        "bicubic": lambda: upsample(case.lr, scale),
        "bicubic_restored": lambda: case.restored,
        "injection": lambda: case.restored + case.detail,
        "injection_half": lambda: case.restored + case.detail * np.float32(0.5),
        "model": lambda: super_resolve(weights, case, scale, steps, right),
        "model_no_reference": lambda: super_resolve(weights, case, scale, steps),
        "model_wrong_reference": lambda: super_resolve(weights, case, scale, steps, wrong),
    }
    for count in nfe:
        rows[f"model_nfe{count}"] = lambda count=count: super_resolve(weights, case, scale, count, right)  # type: ignore[misc]
    return rows


def _mean(figures: list[dict[str, float]]) -> dict[str, float]:
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
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, object]:
    """Measures `weights` on `data`/pairs and returns {"weights", "digest", "split", "scale", "rows"}.

    `rows` is {row: {part: {psnr, hb_corr, hb_energy, lr_error, pairs}}}; parts are all, agreeing, disagreeing, and
    the same of images under the licences that shipped weights may be trained on: free_all and so on. `licences`,
    `rows` and `limit` narrow what is measured; `progress` is told (done, total).
    """
    torch.set_num_threads(1)
    loaded = load_weights(weights)
    curve = Curve(loaded.config.curve_maximum)
    scenes = read_pairs(data, split, licences)[:limit]
    figures: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    previous = next(cases(scenes[-1:], scale))
    for done, case in enumerate(cases(scenes, scale)):
        part = "agreeing" if case.agreement >= AGREEING else "disagreeing"
        for name, make in pictures(loaded, case, previous, scale, nfe).items():
            if rows is None or name in rows:
                sr = restore(make(), case.lr, scale, EVALUATION_MTF) if name != "bicubic" else make()
                found = measure(sr, case, scale, curve)
                for key in ("all", part):
                    figures[name][key].append(found)
                    if case.scene.licence_class in ALLOWED_LICENCES:
                        figures[name][f"free_{key}"].append(found)
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
    }
