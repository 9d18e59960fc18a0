"""Training batches: crops with a simulated LR, R, and a reference that is good, wrong, or missing.

A batch is a pure function of (settings, seed, step), so that a resumed run sees what an unbroken one would have seen.
All crops of a batch share scale and MTF, and pass through `sensor` together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsdit.errors import RequestError
from dsdit.imagery import Scene, low_band, match_gain_offset
from dsdit.sensor import EVALUATION_MTF, decimate, high_band, restored_lr
from dsdit.training import degrade
from dsdit.training.config import DataConfig

Array = NDArray[np.float32]
MTF_FACTORS = (0.75, 0.9, 1.0, 1.1, 1.3)
"""MTF at Nyquist of a batch over EVALUATION_MTF."""
_MARGIN_PX = {4: 32, 8: 32, 10: 40, 16: 48}
"""Context around a crop from which LR and R are made: a multiple of the scale."""


@dataclass(frozen=True)
class Batch:
    """Arrays of one step, all in the scaled range."""

    hr: Array
    """(B, 3, crop, crop), the truth."""
    restored: Array
    """(B, 3, crop, crop), R."""
    ref: Array
    """(B, 3, crop, crop), the matched reference."""
    ref_valid: NDArray[np.bool_]
    """(B, crop, crop)."""
    ref_high_band: Array
    """(B, 3, crop, crop)."""
    scale: int
    """HR pixels per LR pixel."""


class _Window(NamedTuple):
    hr: Array
    ref: Array
    valid: NDArray[np.bool_]


def _unit(values: NDArray[np.uint8]) -> Array:
    return values.astype(np.float32) / np.float32(255)


def cut(image: NDArray, top: int, left: int, size: int) -> NDArray:
    """(..., H, W) -> (..., size, size) from (top, left); beyond the image its edge pixels go on."""
    rows = np.clip(np.arange(top, top + size), 0, image.shape[-2] - 1)
    cols = np.clip(np.arange(left, left + size), 0, image.shape[-1] - 1)
    return image[..., rows[:, None], cols[None, :]]


class CropDataset:
    """Draws batches out of scenes that lie in memory."""

    def __init__(self, scenes: Sequence[Scene], config: DataConfig, seed: int, batch: int, crop_px: int = 128) -> None:
        self.config, self.seed, self.batch_size, self.crop_px = config, seed, batch, crop_px
        self._by_origin: dict[str, list[Scene]] = defaultdict(list)
        for scene in scenes:
            if min(scene.hr.shape[1:]) >= crop_px:
                self._by_origin[scene.origin].append(scene)
        missing = sorted(set(config.origins) - set(self._by_origin))
        if missing:
            raise RequestError(f"no images of origin {missing}; the data has {sorted(self._by_origin)}")
        self._low = {s.id: (low_band(s.hr), None if s.ref is None else low_band(s.ref)) for s in scenes}

    def batch(self, step: int) -> Batch:
        """The batch of `step`."""
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, step]))
        scales = list(self.config.scales)
        weights = np.array([self.config.scales[s] for s in scales])
        scale = scales[rng.choice(len(scales), p=weights / weights.sum())]
        crop = self.crop_px if self.crop_px % scale == 0 else 160
        margin = _MARGIN_PX.get(scale, 4 * scale)
        count = max(1, round(self.batch_size * (self.crop_px / crop) ** 2))
        mtf = EVALUATION_MTF * MTF_FACTORS[rng.integers(len(MTF_FACTORS))]
        windows = [self._window(rng, crop, margin) for _ in range(count)]
        hr, ref, valid = (np.stack(parts) for parts in zip(*windows, strict=True))
        lr = decimate(hr, scale, mtf)
        noise = rng.uniform(0, 0.006, (count, 1, 1, 1)).astype(np.float32)
        lr += noise * rng.standard_normal(lr.shape, np.float32)
        restored = restored_lr(lr, scale, mtf)
        ref = np.where(valid[:, None], ref, restored)
        ref_high = high_band(ref, scale, mtf)
        inner = slice(margin, margin + crop)
        pictures = (np.ascontiguousarray(a[..., inner, inner]) for a in (hr, restored, ref, ref_high))
        hr, restored, ref, ref_high = pictures
        return Batch(hr, restored, ref, np.ascontiguousarray(valid[:, inner, inner]), ref_high, scale)

    def _scene(self, rng: np.random.Generator) -> Scene:
        origins = list(self.config.origins)
        weights = np.array([self.config.origins[o] for o in origins])
        scenes = self._by_origin[origins[rng.choice(len(origins), p=weights / weights.sum())]]
        return scenes[rng.integers(len(scenes))]

    def _reference(self, rng: np.random.Generator, scene: Scene, other: Scene, top: int, left: int, size: int) -> Array:
        """A matched reference window in 0..1, of `other` where that is not `scene` itself."""
        target = self._low[scene.id][0]
        if other is not scene:
            source, low = other.hr, self._low[other.id][0]
            top = int(rng.integers(-16, max(1, source.shape[1] - size + 17)))
            left = int(rng.integers(-16, max(1, source.shape[2] - size + 17)))
        elif scene.ref is not None:
            ref_low = self._low[scene.id][1]
            assert ref_low is not None
            source, low = scene.ref, ref_low
        else:
            window = _unit(cut(scene.hr, top + int(rng.integers(-1, 2)), left + int(rng.integers(-1, 2)), size))
            return degrade.relight(rng, window)
        gain, offset = match_gain_offset(low, target)
        return gain * _unit(cut(source, top, left, size)) + offset / np.float32(255)

    def _window(self, rng: np.random.Generator, crop: int, margin: int) -> _Window:
        """One crop with its margin: HR, reference (3, S, S) scaled, and the reference's validity (S, S)."""
        size = crop + 2 * margin
        scene = self._scene(rng)
        if scene.ref is not None and rng.random() < 0.5:
            scene = self._swapped(scene)
        top = int(rng.integers(0, max(1, scene.hr.shape[1] - crop + 1))) - margin
        left = int(rng.integers(0, max(1, scene.hr.shape[2] - crop + 1))) - margin
        kind = rng.random()
        other, shift = scene, (0, 0)
        wrong = self.config.wrong_reference * (2.0 if scene.ref is None else 1.0)
        if kind < 0.4 * wrong:
            other = self._scene(rng)
        elif kind < 0.7 * wrong:
            length, angle = rng.uniform(3, 8), rng.uniform(0, 2 * np.pi)
            shift = (round(length * np.sin(angle)), round(length * np.cos(angle)))
        elif kind > 1 - self.config.jitter:
            shift = (int(rng.integers(-1, 2)), int(rng.integers(-1, 2)))
        hr = _unit(cut(scene.hr, top, left, size))
        ref = self._reference(rng, scene, other, top + shift[0], left + shift[1], size)
        if 0.7 * wrong <= kind < wrong:
            stranger = self._scene(rng)
            ref = degrade.paste_change(rng, ref, self._reference(rng, scene, stranger, 0, 0, size), margin)
        valid = np.ones((size, size), bool)
        if rng.random() < self.config.missing_reference:
            valid = degrade.missing(rng, size)
        hr, ref = degrade.expose(rng, hr, ref, wide=rng.random() < self.config.darkened)
        hr, ref, valid = degrade.turn(rng, hr, ref, valid)
        return _Window(hr * 2 - 1, ref * 2 - 1, valid)

    def _swapped(self, scene: Scene) -> Scene:
        """The same place with its dates exchanged."""
        key = scene.id + "/swapped"
        assert scene.ref is not None
        if key not in self._low:
            hr_low, ref_low = self._low[scene.id]
            assert ref_low is not None
            self._low[key] = (ref_low, hr_low)
        return Scene(key, scene.origin, scene.licence_class, scene.ref, scene.hr)
