"""Training batches: crops with a simulated LR, R, and a reference that is good, wrong, or missing.

A batch is a pure function of (settings, seed, step), so that a resumed run gets the batches of an uninterrupted one.
Truth and reference of each crop are drawn from separate streams: degrading the reference changes no truth.
All crops of a batch share scale and MTF, and pass through `sensor` together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dsdit.errors import RequestError
from dsdit.evaluation.pairs import Scene, low_band, match_gain_offset
from dsdit.imaging.sensor import EVALUATION_MTF, decimate, high_band, restored_lr
from dsdit.training import degrade
from dsdit.training.config import ANY_ORIGIN, DataConfig, crop_size

Array = NDArray[np.float32]
Name = TypeVar("Name", str, int)
Values = TypeVar("Values", bound=np.generic)
MTF_FACTORS = (0.75, 0.9, 1.0, 1.1, 1.3)
"""MTF at Nyquist of a batch over EVALUATION_MTF."""
NOISE = 0.006
"""Largest standard deviation of LR's noise, scaled."""
_BATCH, _TRUTH, _REFERENCE = range(3)
"""Streams of random numbers."""


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
    mtf_nyquist: float
    """The sensor's MTF at the LR Nyquist frequency."""


class _Window(NamedTuple):
    hr: Array
    ref: Array
    valid: NDArray[np.bool_]


def _unit(values: NDArray[np.uint8]) -> Array:
    return values.astype(np.float32) / np.float32(255)


def _choose(rng: np.random.Generator, weights: Mapping[Name, float]) -> Name:
    """One of the names, with probability in proportion to its weight."""
    shares = np.array(list(weights.values()))
    return list(weights)[rng.choice(len(weights), p=shares / shares.sum())]


def margin_px(scale: int) -> int:
    """Context around a crop from which LR and R are made: whole LR pixels, three at least, 32 px or a little more."""
    return max(3, -(-32 // scale)) * scale


def cut(image: NDArray[Values], top: int, left: int, size: int) -> NDArray[Values]:
    """(..., H, W) -> (..., size, size) from (top, left); beyond the image its edge pixels are repeated."""
    rows = np.clip(np.arange(top, top + size), 0, image.shape[-2] - 1)
    cols = np.clip(np.arange(left, left + size), 0, image.shape[-1] - 1)
    return image[..., rows[:, None], cols[None, :]]


class CropDataset:
    """Draws batches from scenes in memory."""

    def __init__(self, scenes: Sequence[Scene], config: DataConfig, seed: int, batch: int, crop_px: int = 128) -> None:
        self.config, self.seed, self.batch_size, self.crop_px = config, seed, batch, crop_px
        self._origins = [name for name, weight in config.origins.items() if weight > 0]
        self._by_origin: dict[str, list[Scene]] = defaultdict(list)
        for scene in scenes:
            if min(scene.hr.shape[1:]) >= crop_px:
                named = scene.origin in config.origins or scene.origin == "single"
                self._by_origin[scene.origin if named else ANY_ORIGIN].append(scene)
        missing = sorted(set(self._origins) - set(self._by_origin))
        if missing:
            found = sorted({scene.origin for scene in scenes})
            shown = f"{found[:10]}" + (f" and {len(found) - 10} more" if len(found) > 10 else "")
            raise RequestError(
                f"no images of origin {missing} with sides of at least {crop_px} px (crop_px); the data has {shown}. "
                f'Name those in data.origins, or "*" for all pairs'
            )
        self._low = {s.id: (low_band(s.hr), None if s.ref is None else low_band(s.ref)) for s in scenes}

    def _stream(self, kind: int, step: int, crop: int = 0) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self.seed, kind], counter=[0, 0, crop, step]))

    def batch(self, step: int) -> Batch:
        """The batch of `step`."""
        rng = self._stream(_BATCH, step)
        scale = _choose(rng, self.config.scales)
        crop, margin = crop_size(scale, self.crop_px), margin_px(scale)
        count = max(1, round(self.batch_size * (self.crop_px / crop) ** 2))
        mtf = EVALUATION_MTF * MTF_FACTORS[rng.integers(len(MTF_FACTORS))]
        windows = [
            self._window(self._stream(_TRUTH, step, k), self._stream(_REFERENCE, step, k), crop, margin)
            for k in range(count)
        ]
        hr, ref, valid = (np.stack(parts) for parts in zip(*windows, strict=True))
        lr = decimate(hr, scale, mtf)
        noise = rng.uniform(0, NOISE, (count, 1, 1, 1)).astype(np.float32)
        lr += noise * rng.standard_normal(lr.shape, np.float32)
        restored = restored_lr(lr, scale, mtf)
        ref = np.where(valid[:, None], ref, restored)
        ref_high = high_band(ref, scale, mtf)
        inner = slice(margin, margin + crop)
        hr, restored, ref, ref_high, valid = (
            np.ascontiguousarray(a[..., inner, inner]) for a in (hr, restored, ref, ref_high, valid)
        )
        return Batch(hr, restored, ref, valid, ref_high, scale, mtf)

    def _scene(self, rng: np.random.Generator) -> Scene:
        scenes = self._by_origin[_choose(rng, {name: self.config.origins[name] for name in self._origins})]
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

    def _window(self, truth: np.random.Generator, hard: np.random.Generator, crop: int, margin: int) -> _Window:
        """One crop with its margin: HR, reference (3, S, S) scaled, and the reference's validity (S, S).

        `truth` draws position, exposure and orientation; `hard` draws the degradations of the reference.
        """
        size = crop + 2 * margin
        scene = self._scene(truth)
        if scene.ref is not None and truth.random() < 0.5:
            scene = self._swapped(scene)
        top = int(truth.integers(0, max(1, scene.hr.shape[1] - crop + 1))) - margin
        left = int(truth.integers(0, max(1, scene.hr.shape[2] - crop + 1))) - margin
        hr = _unit(cut(scene.hr, top, left, size))
        ref = self._hard_reference(hard, scene, top, left, size, margin)
        hr, ref = degrade.expose(truth, hr, ref, wide=truth.random() < self.config.darkened)
        ref = degrade.mismatch(hard, ref)
        valid = np.ones((size, size), bool)
        if hard.random() < self.config.clouds:
            ref, valid = degrade.cover_with_clouds(hard, ref, valid)
        if hard.random() < self.config.missing_reference:
            valid = valid & degrade.missing(hard, size)
        hr, ref, valid = degrade.turn(truth, hr, ref, valid)
        return _Window(hr * 2 - 1, ref * 2 - 1, valid)

    def _hard_reference(
        self, rng: np.random.Generator, scene: Scene, top: int, left: int, size: int, margin: int
    ) -> Array:
        """The matched reference of a window in 0..1: unchanged, shifted, of another place, with change, or blurred."""
        wrong = self.config.wrong_reference * (2.0 if scene.ref is None else 1.0)
        kind, other, down, right = rng.random(), scene, 0.0, 0.0
        if kind < 0.4 * wrong:
            other = self._scene(rng)
        elif kind < 0.7 * wrong or kind >= 1 - self.config.jitter:
            length = rng.uniform(3, 8) if kind < 0.7 * wrong else rng.uniform(0, 2)
            angle = rng.uniform(0, 2 * np.pi)
            down, right = length * np.sin(angle), length * np.cos(angle)
        whole = (math.floor(down), math.floor(right))
        ref = self._reference(rng, scene, other, top + whole[0], left + whole[1], size)
        if down or right:
            ref = degrade.nudge(ref, down - whole[0], right - whole[1])
        if 0.7 * wrong <= kind < wrong:
            ref = degrade.paste_change(rng, ref, self._reference(rng, scene, self._scene(rng), 0, 0, size), margin)
        return degrade.blur(rng, ref) if rng.random() < self.config.blur else ref

    def _swapped(self, scene: Scene) -> Scene:
        """The same place with its dates exchanged."""
        key = scene.id + "/swapped"
        assert scene.ref is not None
        if key not in self._low:
            hr_low, ref_low = self._low[scene.id]
            assert ref_low is not None
            self._low[key] = (ref_low, hr_low)
        return Scene(key, scene.origin, scene.licence_class, scene.ref, scene.hr)
