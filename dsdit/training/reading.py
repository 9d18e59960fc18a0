"""Scenes of a data folder, divided into training and validation, and their registration."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from dsdit.errors import RequestError
from dsdit.evaluation.pairs import FREE_LICENCES, Scene, measure_scene, read_pairs, read_singles, registered
from dsdit.imaging.shift import Shift

SINGLE = "single"
_REGISTRATION_SCALE = 8
_HELD_OUT_OF = 8
"""One id in so many is held out for validation."""
Report = Callable[[str], None]


def held_out(ids: Iterable[str]) -> set[str]:
    """About one id in eight, by a hash of the id alone: adding or removing other pairs does not change it.

    At least one of two or more, none of one.
    """
    numbers = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) for name in ids}
    if len(numbers) < 2:
        return set()
    return {name for name, number in numbers.items() if number % _HELD_OUT_OF == 0} or {
        min(numbers, key=numbers.__getitem__)
    }


def _report_licences(manifest: Path, scenes: Collection[Scene], report: Report) -> None:
    if scenes and not any(scene.licence_class for scene in scenes):
        report(f"{manifest} has no column licence_class: all of its {len(scenes)} images are taken")


def _nothing(folder: Path, what: str) -> RequestError:
    return RequestError(
        f"{folder} has no {what} to train on: its manifest.csv needs the columns id and split, rows of split 'train', "
        f"and, where it has the column licence_class, one of {list(FREE_LICENCES)} in it"
    )


def _read_pairs(data: Path, report: Report) -> tuple[list[Scene], list[Scene]]:
    folder = data / "pairs"
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        train, val = (read_pairs(data, split, FREE_LICENCES) for split in ("train", "val"))
        _report_licences(manifest, train + val, report)
        if not train:
            raise _nothing(folder, "pair")
        return train, val
    scenes = read_pairs(data, "train")
    if not scenes:
        raise RequestError(f"{folder} has no pair: put A_<id>.* (older) and B_<id>.* (newer) there, or a manifest.csv")
    kept = held_out(scene.id for scene in scenes)
    report(
        f"{manifest} is missing: {len(kept)} of {len(scenes)} pairs, chosen by a hash of the id, are kept for "
        f"validation. Pairs of one place may be in both parts; use the column split of a manifest to separate them"
    )
    return [s for s in scenes if s.id not in kept], [s for s in scenes if s.id in kept]


def read_scenes(data: Path, origins: Collection[str], report: Report) -> tuple[list[Scene], list[Scene]]:
    """(training, validation) scenes of `data`: pairs/, and single/ where "single" is among `origins`.

    Where a manifest has the column licence_class, only free images are taken. Without pairs/manifest.csv some pairs are
    held out. `report` gets a sentence for each such decision. Raises RequestError where nothing is left.
    """
    train: list[Scene] = []
    val: list[Scene] = []
    if set(origins) - {SINGLE} or (data / "pairs").is_dir():
        train, val = _read_pairs(data, report)
    if SINGLE in origins:
        singles = read_singles(data, "train", FREE_LICENCES)
        _report_licences(data / SINGLE / "manifest.csv", singles, report)
        if not singles:
            raise _nothing(data / SINGLE, "image")
        train = train + singles
    return train, val


def register_scenes(scenes: list[Scene], cache: Path) -> list[Scene]:
    """Pairs with their older picture moved onto the newer one, as the flow gives references to the network.

    Shifts are measured once and cached in the JSON file `cache`.
    """
    known = json.loads(cache.read_text("utf-8")) if cache.is_file() else {}
    new = [scene for scene in scenes if scene.ref is not None and scene.id not in known]

    def moved(scene: Scene) -> Scene:
        return scene if scene.ref is None else registered(scene, Shift(**known[scene.id]))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = pool.map(lambda scene: measure_scene(scene, _REGISTRATION_SCALE), new)
        known.update({scene.id: asdict(shift) for scene, shift in zip(new, found, strict=True)})
        out = list(pool.map(moved, scenes))
    if new:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(known, indent=1), "utf-8")
        partial.replace(cache)
    return out
