"""Fills invalid pixels from valid ones around them, so that the network sees no step at their border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FAR_REFLECTANCE = 0.1


def carry(values: NDArray[np.float32], valid: NDArray[np.bool_], radius: int) -> NDArray[np.float32]:
    """Fills invalid pixels with the mean of their already filled 4-neighbours, ring by ring up to `radius`.

    Sums run in a fixed order and a ring reaches one pixel further, so the result depends on nothing beyond `radius`.
    Pixels further away get one fixed reflectance.
    """
    out = np.where(valid, values, np.float32(0))
    have = valid.copy()
    for _ in range(radius):
        if have.all():
            break
        total, count = np.zeros_like(out), np.zeros(have.shape, np.float32)
        for target, source in _SHIFTS:
            weight = have[source].astype(np.float32)
            total[(slice(None), *target)] += out[(slice(None), *source)] * weight
            count[target] += weight
        new = ~have & (count > 0)
        out[:, new] = total[:, new] / count[new]
        have |= new
    out[:, ~have] = np.float32(_FAR_REFLECTANCE)
    return out


_ALL = slice(None)
_SHIFTS = (
    ((slice(1, None), _ALL), (slice(None, -1), _ALL)),
    ((slice(None, -1), _ALL), (slice(1, None), _ALL)),
    ((_ALL, slice(1, None)), (_ALL, slice(None, -1))),
    ((_ALL, slice(None, -1)), (_ALL, slice(1, None))),
)
