"""Conversions between stored integers, reflectance and the range in which the network works.

dn -> reflectance is a source's rule (scale and offset); reflectance -> scaled is one fixed monotone curve that is part
of the weights' config and was used in training. No function here depends on the statistics of a tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SR_SCALE_FACTOR = 1e-4
"""Reflectance of one step of the mosaic's uint16 values."""
SR_ADD_OFFSET = -0.1
"""Reflectance of value 0: dark water after atmospheric correction is below zero, and is stored as it is."""
SR_FILL = np.uint16(65535)
"""uint16 value that means: no reflectance here."""


@dataclass(frozen=True)
class Curve:
    """scaled = 2 * reflectance / maximum - 1: linear, hence interchangeable with the sensor operator A.

    It is not clipped: ground brighter than `maximum` keeps its LR value, since the network only adds detail.
    """

    maximum: float = 0.4
    """Reflectance that becomes +1."""

    def forward(self, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reflectance -> scaled, float32, any shape."""
        return np.asarray(reflectance, np.float32) * np.float32(2.0 / self.maximum) - np.float32(1.0)

    def inverse(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled -> reflectance, float32, any shape."""
        return (np.asarray(scaled, np.float32) + np.float32(1.0)) * np.float32(self.maximum / 2.0)


DEFAULT_CURVE = Curve()


def encode(reflectance: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Reflectance -> the mosaic's uint16; fill where not `valid`. Values out of range are clipped to its ends."""
    with np.errstate(invalid="ignore"):
        steps = np.rint((reflectance - np.float32(SR_ADD_OFFSET)) * np.float32(1.0 / SR_SCALE_FACTOR))
    steps = np.clip(np.nan_to_num(steps), 0, int(SR_FILL) - 1).astype(np.uint16)
    return np.where(valid, steps, SR_FILL)


def decode(stored: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The mosaic's uint16 -> reflectance; NaN where it is fill."""
    values = stored.astype(np.float32) * np.float32(SR_SCALE_FACTOR) + np.float32(SR_ADD_OFFSET)
    return np.where(stored == SR_FILL, np.float32(np.nan), values)
