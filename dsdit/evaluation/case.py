"""One pair of dates prepared: LR simulated, reference matched, the ground divided into changed and unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dsdit.evaluation.metrics import Mask, above_nyquist, band, correlation
from dsdit.evaluation.pairs import Scene, matched_pair, measure_scene, registered
from dsdit.imaging.sensor import EVALUATION_MTF, decimate, high_band, restored_lr

Array = NDArray[np.float32]
AGREEING = 0.4
"""Correlation of the dates' high bands from which a pair counts as agreeing."""
BLOCK_PX = 64
"""Side of the blocks that are changed or not."""
UNCHANGED = 0.3
"""Correlation of the dates' middle bands below which a block counts as changed."""


@dataclass(frozen=True)
class Case:
    """One pair, ready for every row; pictures are (3, H, W) scaled."""

    scene: Scene
    """Where it comes from."""
    hr: Array
    """Truth."""
    ref: Array
    """Reference, matched to LR over the whole picture, not registered."""
    lr: Array
    """A(HR), (3, H / scale, W / scale)."""
    restored: Array
    """R."""
    detail: Array
    """High band of `ref`."""
    agreement: float
    """Correlation of the dates' high bands."""
    changed: Mask
    """(H, W), whole blocks of BLOCK_PX."""
    scale: int

    @cached_property
    def registered(self) -> Array:
        """`ref` moved onto LR by the shift estimated from LR (`imaging.shift`); measured on first use."""
        moved = registered(self.scene, measure_scene(self.scene, self.scale))
        return matched_pair(moved, self.scale)[1]

    @cached_property
    def moved_detail(self) -> Array:
        """High band of `registered`."""
        return high_band(self.registered, self.scale, EVALUATION_MTF)

    @property
    def parts(self) -> dict[str, Mask]:
        """The parts of the evaluation that this pair belongs to, each as (H, W)."""
        whole = np.ones(self.changed.shape, bool)
        kind = "agreeing" if self.agreement >= AGREEING else "disagreeing"
        return {"all": whole, kind: whole, "changed": self.changed, "unchanged": ~self.changed}


def changed_blocks(hr: Array, ref: Array, scale: int) -> Mask:
    """(H, W): blocks whose band from 1/4 to 1 of the LR Nyquist frequency correlates little between the dates.

    A strip narrower than a block belongs to the block before it.
    """
    nyquist = 0.5 / scale
    middle, other = band(hr, nyquist / 4, nyquist), band(ref, nyquist / 4, nyquist)
    height, width = hr.shape[1:]
    changed = np.zeros((height, width), bool)
    for rows in _blocks(height):
        for cols in _blocks(width):
            at = (slice(None), rows, cols)
            changed[rows, cols] = correlation(middle[at], other[at]) < UNCHANGED
    return changed


def _blocks(length: int) -> list[slice]:
    starts = list(range(0, max(length - BLOCK_PX, 0) + 1, BLOCK_PX))
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], length], strict=True)]


def make_case(scene: Scene, scale: int) -> Case:
    """A pair with simulated LR."""
    hr, ref = matched_pair(scene, scale)
    lr = decimate(hr, scale, EVALUATION_MTF)
    return Case(
        scene=scene,
        hr=hr,
        ref=ref,
        lr=lr,
        restored=restored_lr(lr, scale, EVALUATION_MTF),
        detail=high_band(ref, scale, EVALUATION_MTF),
        agreement=correlation(above_nyquist(hr, scale), above_nyquist(ref, scale)),
        changed=changed_blocks(hr, ref, scale),
        scale=scale,
    )
