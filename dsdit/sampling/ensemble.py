"""The average over mirrored and turned forms of a tile: the network's output for each, put back and averaged.

A network is not quite the same from every side; the average has a smaller error (Timofte et al. 2016, geometric
self-ensemble). The forms are those of a square: of 2, a half turn is added; of 4, both mirrors; of 8, all again with
rows and columns exchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Values = TypeVar("Values", bound=np.generic)


@dataclass(frozen=True)
class Form:
    """One orientation of a square of (..., y, x): a symmetry of the square."""

    exchanged: bool
    """Rows and columns, before the mirrors."""
    down: bool
    """Mirrored up and down."""
    across: bool
    """Mirrored left and right."""

    def apply(self, values: NDArray[Values]) -> NDArray[Values]:
        """Values in this orientation."""
        turned = values.swapaxes(-2, -1) if self.exchanged else values
        return np.ascontiguousarray(self._mirrored(turned))

    def put_back(self, values: NDArray[Values]) -> NDArray[Values]:
        """Inverse of `apply`."""
        turned = self._mirrored(values)
        return np.ascontiguousarray(turned.swapaxes(-2, -1) if self.exchanged else turned)

    def _mirrored(self, values: NDArray[Values]) -> NDArray[Values]:
        return values[..., :: -1 if self.down else 1, :: -1 if self.across else 1]


FORMS = tuple(
    Form(exchanged, down, across)
    for exchanged in (False, True)
    for down, across in ((False, False), (True, True), (True, False), (False, True))
)
"""All eight, in the order in which they are added."""
COUNTS = (1, 2, 4, 8)
"""Numbers of forms that balance each other."""


def averaged(count: int, draw: Callable[[Form], tuple[Array, Array]]) -> tuple[Array, Array]:
    """Mean of what `draw` gives for the first `count` forms, both arrays put back; summed in their order."""
    if count not in COUNTS:
        raise ValueError(f"an ensemble of {count} forms: it may have {COUNTS}")
    first, second = (FORMS[0].put_back(part) for part in draw(FORMS[0]))
    for form in FORMS[1:count]:
        more, other = draw(form)
        first, second = first + form.put_back(more), second + form.put_back(other)
    share = np.float32(1 / count)
    return np.asarray(first * share, np.float32), np.asarray(second * share, np.float32)
