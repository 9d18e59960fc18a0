"""Inputs of one batch of tiles, as arrays. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsdit.sampling.ensemble import Form

Array = NDArray[np.float32]


@dataclass(frozen=True)
class TileBatch:
    """Inputs of B tiles; pictures are in the model's range."""

    restored: Array
    """(B, 3, y, x) bicubic LR with its truth restored."""
    ref: Array
    """(B, 3, y, x)."""
    ref_valid: NDArray[np.bool_]
    """(B, y, x); all False for a tile without reference."""
    ref_high: Array
    """(B, 3, y, x) high band of the reference, 0 where there is none."""
    noise: Array
    """(B, C, y / factor, x / factor)."""
    scale: int
    """HR pixels per LR pixel."""

    def oriented(self, form: Form) -> TileBatch:
        """The same tiles, mirrored and turned."""
        turn = form.apply
        return TileBatch(
            turn(self.restored), turn(self.ref), turn(self.ref_valid), turn(self.ref_high), turn(self.noise), self.scale
        )
