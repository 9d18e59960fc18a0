"""The images that training and evaluation read: pairs of dates, and single images, listed in a `manifest.csv`.

Memory holds 8-bit values: 480 pairs of 256 px take 50 MB, and 200 MB as float32. No place is in both splits.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsdit.errors import RequestError
from dsdit.imaging.sensor import EVALUATION_MTF, decimate
from dsdit.imaging.shift import Shift, measure_shift, moved

Array = NDArray[np.float32]
FREE_LICENCES = ("clear", "clear pixels, NC-SA packaging")
"""Licence classes of the manifest that shipped weights may be trained on."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Endings of image files that are read."""
LOW_BAND_PX = 8
"""Side of the blocks whose means are a picture's low band."""


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
    place: str = ""
    """Name of the ground that is shown; scenes of one place share it. Empty where unknown."""


def _read_image(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read as an image: {error}") from error


def _rows(folder: Path, split: str, licences: Collection[str] | None) -> list[dict[str, str]]:
    path = folder / "manifest.csv"
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = sorted({"split", "id"} - set(reader.fieldnames or ()))
        if missing:
            raise RequestError(f"{path} has no column {missing}")
        rows = [row for row in reader if row["split"] == split]
        has_licences = "licence_class" in (reader.fieldnames or ())
    return [row for row in rows if licences is None or not has_licences or row["licence_class"] in licences]


def _find(folder: Path, stem: str) -> Path:
    found = sorted(p for p in folder.glob(f"{escape(stem)}.*") if p.suffix.lower() in SUFFIXES)
    if len(found) != 1:
        names = [p.name for p in found] or "nothing"
        raise RequestError(f"{folder} must hold one image {stem} with an ending of {list(SUFFIXES)}, and holds {names}")
    return found[0]


def _listed(folder: Path, split: str, licences: Collection[str] | None) -> list[dict[str, str]]:
    """Pairs by the manifest, or, without one, all in the folder."""
    if not folder.is_dir():
        raise RequestError(f"{folder} does not exist: give the folder that holds pairs/ (and, to train, single/)")
    if (folder / "manifest.csv").is_file():
        return _rows(folder, split, licences)
    return [
        {"id": path.stem.removeprefix("B_"), "licence_class": ""}
        for path in sorted(folder.glob("B_*"))
        if path.suffix.lower() in SUFFIXES
    ]


def read_pairs(data: Path, split: str, licences: Collection[str] | None = None) -> list[Scene]:
    """Scenes of `data`/pairs: A_<id>.* older and B_<id>.* newer, png, jpg or tif of 8 bits.

    A manifest.csv with columns `split` and `id` (and `a`, `b`, `place`, `licence_class`) chooses `split` and the
    licence classes given (None, or a manifest without that column: all); without a manifest every pair is read. Raises
    RequestError.
    """
    folder = data / "pairs"
    scenes = []
    for row in _listed(folder, split, licences):
        older, newer = (
            _read_image(folder / Path(row[key]).name if row.get(key) else _find(folder, f"{key.upper()}_{row['id']}"))
            for key in ("a", "b")
        )
        if older.shape != newer.shape:
            raise RequestError(f"pair {row['id']}: A is {older.shape[1:]} px and B {newer.shape[1:]} px (y, x)")
        origin, licence = row["id"].split("-")[0], row.get("licence_class") or ""
        scenes.append(Scene(row["id"], origin, licence, newer, older, row.get("place") or row["id"]))
    return scenes


def read_singles(data: Path, split: str, licences: Collection[str] | None = None) -> list[Scene]:
    """Scenes of `data`/single, listed in its manifest.csv like pairs, with a column `file` in place of `a` and `b`."""
    folder = data / "single"
    if not (folder / "manifest.csv").is_file():
        raise RequestError(
            f"{folder / 'manifest.csv'} is missing: give the folder that holds pairs/ and single/, or leave the origin "
            f'"single" out of data.origins'
        )
    scenes = []
    for row in _rows(folder, split, licences):
        path = folder / Path(row["file"]).name if row.get("file") else _find(folder, row["id"])
        scenes.append(Scene(row["id"], "single", row.get("licence_class") or "", _read_image(path), None))
    return scenes


def low_band(image: NDArray[Any]) -> NDArray[np.float32]:
    """(3, H, W) -> means of LOW_BAND_PX blocks, (3, H // 8, W // 8)."""
    h, w = (n // LOW_BAND_PX for n in image.shape[-2:])
    cut = image[:, : h * LOW_BAND_PX, : w * LOW_BAND_PX].astype(np.float32)
    means: Array = cut.reshape(3, h, LOW_BAND_PX, w, LOW_BAND_PX).mean((2, 4), dtype=np.float32)
    return means


def match_gain_offset(ref_low: Array, lr_low: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset (3, 1, 1) that give the reference's low band LR's mean and spread, band by band.

    One fit over the whole overlap of two images, never over a tile. The gain is held within 0.5 to 2.
    """
    axes = (1, 2)
    spread = lr_low.std(axes, keepdims=True) / np.maximum(ref_low.std(axes, keepdims=True), 1e-3)
    gain = np.clip(spread, 0.5, 2.0).astype(np.float32)
    offset = lr_low.mean(axes, keepdims=True) - gain * ref_low.mean(axes, keepdims=True)
    return gain, offset.astype(np.float32)


def measure_scene(scene: Scene, scale: int) -> Shift:
    """The older picture's misregistration against the newer one, estimated from the newer one's LR alone."""
    hr, ref = matched_pair(scene, scale)
    return measure_shift(decimate(hr, scale, EVALUATION_MTF), ref, scale, EVALUATION_MTF)


def registered(scene: Scene, shift: Shift) -> Scene:
    """The pair with its older picture moved onto the newer one; in 8 bits again."""
    if scene.ref is None or shift.none:
        return scene
    ref = np.clip(np.rint(moved(scene.ref.astype(np.float32), shift.dy, shift.dx)), 0, 255).astype(np.uint8)
    return replace(scene, ref=ref)


def matched_to_lr(ref: NDArray[np.float32], lr: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """A reference (3, H, W) with the mean and spread of `lr` (3, h, w), both measured at LR's resolution.

    They may show different ground, and differ in size; both are in one range of values. H and W are multiples of
    `scale`. The gain is held within 0.5 to 2.
    """
    gain, offset = match_gain_offset(decimate(ref, scale, EVALUATION_MTF), lr)
    return ref * gain + offset


def matched_pair(scene: Scene, scale: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Truth and reference of a pair, (3, H, W) scaled, cut to a multiple of `scale`; the reference matched to LR.

    Raises ValueError for a single image, RequestError for one without a whole LR pixel.
    """
    if scene.ref is None:
        raise ValueError(f"{scene.id} is a single image")
    hr = scaled(scene.hr, scale)
    return hr, matched_to_lr(scaled(scene.ref, scale), decimate(hr, scale, EVALUATION_MTF), scale)


def scaled(image: NDArray[np.uint8], scale: int) -> NDArray[np.float32]:
    """(3, H, W) of 8 bits -> -1 to 1, cut to a multiple of `scale`. Raises RequestError where nothing is left."""
    h, w = (n // scale * scale for n in image.shape[1:])
    if not h or not w:
        raise RequestError(f"an image of {image.shape[1:]} px (y, x) has no whole pixel at scale {scale}: leave it out")
    return image[:, :h, :w].astype(np.float32) * np.float32(2 / 255) - 1
