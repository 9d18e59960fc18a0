"""Cloud masks: which pixels of an item hold no usable value, and which show cloud or its shadow.

A mask is a class with a `kind`, its settings, the `asset` that it is read from, and `classify`. A new mask is one class
here, and its name in `Mask`; a source's YAML then selects it with `mask: {kind: ...}`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from catalogs.frozen import Frozen, kinds_of

VALID, NO_DATA, CLOUD = 0, 1, 2
"""Classes of a pixel that `classify` gives."""


class SclMask(Frozen):
    """Sentinel-2's scene classification, or any image of integer classes."""

    kind: Literal["scl"]
    asset: str = "scl"
    """Key of the asset that holds the classes."""
    cloud: tuple[int, ...] = (3, 8, 9, 10)
    """Classes that are cloud or its shadow."""
    nodata: tuple[int, ...] = (0, 1)
    """Classes that hold no usable value."""

    @property
    def assets(self) -> tuple[str, ...]:
        """Keys of the assets that hold the mask."""
        return (self.asset,)

    def classify(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(y, x) `VALID`, `NO_DATA` or `CLOUD` of stored classes (y, x), NaN where the file has none."""
        with_data = np.isfinite(values) & ~np.isin(values, self.nodata)
        return _classes(with_data, np.isin(values, self.cloud))


Bit = Annotated[int, Field(ge=0, lt=16)]


class BitMask(Frozen):
    """Landsat's QA_PIXEL, or any image whose bits are flags."""

    kind: Literal["bits"]
    asset: str = "qa_pixel"
    """Key of the asset that holds the flags."""
    cloud: tuple[Bit, ...] = (1, 2, 3, 4)
    """Bits of cloud or its shadow: dilated cloud, cirrus, cloud, cloud shadow."""
    nodata: tuple[Bit, ...] = (0,)
    """Bits of pixels that hold no usable value: fill."""

    @property
    def assets(self) -> tuple[str, ...]:
        """Keys of the assets that hold the mask."""
        return (self.asset,)

    def classify(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(y, x) `VALID`, `NO_DATA` or `CLOUD` of stored flags (y, x), NaN where the file has none."""
        flags = np.nan_to_num(values, nan=0.0).astype(np.int64)
        with_data = np.isfinite(values) & (flags & _flag(self.nodata) == 0)
        return _classes(with_data, flags & _flag(self.cloud) != 0)


class NoMask(Frozen):
    """The source has no cloud mask: every pixel with data counts as clear."""

    kind: Literal["none"] = "none"

    @property
    def assets(self) -> tuple[str, ...]:
        """No asset: the first band's nodata serves as the mask."""
        return ()

    def classify(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(y, x) `VALID` or `NO_DATA` of the dn of a band (y, x), NaN where there is none."""
        return _classes(np.isfinite(values), np.zeros(values.shape, bool))


Mask = Annotated[SclMask | BitMask | NoMask, Field(discriminator="kind")]


def mask_kinds() -> dict[str, type[Frozen]]:
    """The masks that a source can name, by kind."""
    return kinds_of(Mask)


def _classes(with_data: NDArray[np.bool_], cloud: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(with_data, np.where(cloud, np.uint8(CLOUD), np.uint8(VALID)), np.uint8(NO_DATA))


def _flag(bits: tuple[int, ...]) -> int:
    """The number in which exactly these bits are set."""
    return sum(1 << bit for bit in set(bits))
