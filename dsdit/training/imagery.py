"""The images that training and evaluation read: two folders of JPEGs, each with a `manifest.csv`.

Memory holds them as 8-bit values; 480 pairs of 256 px are 200 MB as float32 and 50 MB so. No place is in both splits.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsdit.errors import RequestError

LOW_BAND_PX = 8
"""Side of the blocks whose means stand for a picture's low band."""


@dataclass(frozen=True)
class Scene:
    """One place: its picture and, where there is one, its older picture."""

    id: str
    """Manifest id."""
    origin: str
    """Family of images: the id up to its first "-", or "single"."""
    licence_class: str
    """`clear`, `clear pixels, NC-SA packaging` or `research`."""
    hr: NDArray[np.uint8]
    """(3, H, W), the newer date."""
    ref: NDArray[np.uint8] | None
    """(3, H, W), the older date, or None for a single image."""


def _read_image(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def _rows(folder: Path, split: str, licences: Collection[str] | None) -> list[dict[str, str]]:
    path = folder / "manifest.csv"
    if not path.is_file():
        raise RequestError(f"{path} is missing: --data is the folder that holds pairs/ and single/")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return [row for row in rows if licences is None or row["licence_class"] in licences]


def read_pairs(data: Path, split: str, licences: Collection[str] | None = None) -> list[Scene]:
    """Scenes of `data`/pairs in `split`, of the licence classes given (None: all)."""
    folder = data / "pairs"
    return [
        Scene(
            row["id"],
            row["id"].split("-")[0],
            row["licence_class"],
            _read_image(folder / Path(row["b"]).name),
            _read_image(folder / Path(row["a"]).name),
        )
        for row in _rows(folder, split, licences)
    ]


def read_singles(data: Path, split: str, licences: Collection[str] | None = None) -> list[Scene]:
    """Scenes of `data`/single in `split`, of the licence classes given (None: all)."""
    folder = data / "single"
    return [
        Scene(row["id"], "single", row["licence_class"], _read_image(folder / Path(row["file"]).name), None)
        for row in _rows(folder, split, licences)
    ]


def low_band(image: NDArray) -> NDArray[np.float32]:
    """(3, H, W) -> means of LOW_BAND_PX blocks, (3, H // 8, W // 8)."""
    h, w = (n // LOW_BAND_PX for n in image.shape[-2:])
    cut = image[:, : h * LOW_BAND_PX, : w * LOW_BAND_PX].astype(np.float32)
    return cut.reshape(3, h, LOW_BAND_PX, w, LOW_BAND_PX).mean((2, 4), dtype=np.float32)


def match_gain_offset(ref_low: NDArray, lr_low: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset (3, 1, 1) that give the reference's low band LR's mean and spread, band by band.

    One fit over the whole overlap of two images, never over a tile. The gain is held within 0.5 to 2.
    """
    axes = (1, 2)
    spread = lr_low.std(axes, keepdims=True) / np.maximum(ref_low.std(axes, keepdims=True), 1e-3)
    gain = np.clip(spread, 0.5, 2.0).astype(np.float32)
    offset = lr_low.mean(axes, keepdims=True) - gain * ref_low.mean(axes, keepdims=True)
    return gain, offset.astype(np.float32)


def matched_pair(scene: Scene, scale: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Truth and matched reference of a pair, (3, H, W) scaled, cut to a multiple of `scale` and of 8 px."""
    if scene.ref is None:
        raise ValueError(f"{scene.id} is a single image")
    unit = math.lcm(scale, LOW_BAND_PX)
    h, w = (n // unit * unit for n in scene.hr.shape[1:])
    gain, offset = match_gain_offset(low_band(scene.ref), low_band(scene.hr))
    hr = scene.hr[:, :h, :w].astype(np.float32)
    ref = scene.ref[:, :h, :w].astype(np.float32) * gain + offset
    return hr * np.float32(2 / 255) - 1, ref * np.float32(2 / 255) - 1
