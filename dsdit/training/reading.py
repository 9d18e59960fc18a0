"""Which scenes of a data folder are trained on, and which are kept to measure the run on."""

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
_KEPT_OF = 8
Say = Callable[[str], None]


def held_out(ids: Iterable[str]) -> set[str]:
    """About one id in eight, by a hash of the id alone: other pairs that come or go do not move it.

    At least one of two or more, none of one.
    """
    numbers = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) for name in ids}
    if len(numbers) < 2:
        return set()
    return {name for name, number in numbers.items() if number % _KEPT_OF == 0} or {
        min(numbers, key=numbers.__getitem__)
    }


def _say_licences(manifest: Path, scenes: Collection[Scene], say: Say) -> None:
    if scenes and not any(scene.licence_class for scene in scenes):
        say(f"{manifest} has no column licence_class: all of its {len(scenes)} images are taken")


def _nothing(folder: Path, what: str) -> RequestError:
    return RequestError(
        f"{folder} has no {what} to train on: its manifest.csv needs the columns id and split, rows of split 'train', "
        f"and, where it has the column licence_class, one of {list(FREE_LICENCES)} in it"
    )


def _read_pairs(data: Path, say: Say) -> tuple[list[Scene], list[Scene]]:
    folder = data / "pairs"
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        train, val = (read_pairs(data, split, FREE_LICENCES) for split in ("train", "val"))
        _say_licences(manifest, train + val, say)
        if not train:
            raise _nothing(folder, "pair")
        return train, val
    scenes = read_pairs(data, "train")
    if not scenes:
        raise RequestError(f"{folder} has no pair: put A_<id>.* (older) and B_<id>.* (newer) there, or a manifest.csv")
    kept = held_out(scene.id for scene in scenes)
    say(
        f"{manifest} is missing: {len(kept)} of {len(scenes)} pairs, chosen by a hash of the id, are kept for "
        f"validation. Pairs of one place may stand on both sides; the column split of a manifest can tell"
    )
    return [s for s in scenes if s.id not in kept], [s for s in scenes if s.id in kept]


def read_scenes(data: Path, origins: Collection[str], say: Say) -> tuple[list[Scene], list[Scene]]:
    """(training, validation) scenes of `data`: pairs/, and single/ where "single" is among `origins`.

    Of images whose manifest tells a licence class only the free ones are taken. Without pairs/manifest.csv some pairs
    are held out. `say` is told what was decided so. Raises RequestError where nothing is left.
    """
    train: list[Scene] = []
    val: list[Scene] = []
    if set(origins) - {SINGLE} or (data / "pairs").is_dir():
        train, val = _read_pairs(data, say)
    if SINGLE in origins:
        singles = read_singles(data, "train", FREE_LICENCES)
        _say_licences(data / SINGLE / "manifest.csv", singles, say)
        if not singles:
            raise _nothing(data / SINGLE, "image")
        train = train + singles
    return train, val


def register_scenes(scenes: list[Scene], kept: Path) -> list[Scene]:
    """Pairs with their older picture moved onto the newer one, as the flow gives references to the network.

    Shifts are measured once and kept in the JSON file `kept`.
    """
    known = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    new = [scene for scene in scenes if scene.ref is not None and scene.id not in known]

    def moved(scene: Scene) -> Scene:
        return scene if scene.ref is None else registered(scene, Shift(**known[scene.id]))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = pool.map(lambda scene: measure_scene(scene, _REGISTRATION_SCALE), new)
        known.update({scene.id: asdict(shift) for scene, shift in zip(new, found, strict=True)})
        out = list(pool.map(moved, scenes))
    if new:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(known, indent=1), "utf-8")
        partial.replace(kept)
    return out
