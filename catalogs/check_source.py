"""Check of a source: its first usable item, and one small window of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from urllib3 import Retry

from catalogs.allowed import plain
from catalogs.item import SceneItem, scene_item
from catalogs.masks import CLOUD, NO_DATA, VALID
from catalogs.measure.sensor_mtf import NOISE
from catalogs.read.scene import native_geobox, read_bands, read_mask
from catalogs.search.api import stac_items
from catalogs.search.http import RETRY
from catalogs.search.parsing import BadItem
from catalogs.source import Source
from dsdit.errors import CatalogError, RequestError
from dsdit.imaging.mtf import MtfEstimate, estimate_alone
from dsdit.imaging.spectra import measure_spectra

WINDOW_PX = 64
"""Side of the window that is read."""
MTF_WINDOW_PX = 192
"""Side of the window on which the MTF of a source of scenes is measured."""
_RETRY = RETRY.new(total=1)
_SHOWN = 5
"""Items left out that are named."""


@dataclass(frozen=True)
class SourceCheck:
    """The item that was read, and the pixels of the window."""

    item: str
    """Id of the item that was read, on one line."""
    when: datetime
    """Time of its acquisition, UTC."""
    crs: str
    """Of its file."""
    gsd_m: float
    """Pixel of its file, in units of that CRS."""
    offset: float
    """Of its first band, in reflectance, by the source's rule."""
    shape: tuple[int, int]
    """(y, x) of the window, in the middle of the file."""
    valid: float
    """Share of its pixels with a value in every band."""
    cloud: float
    """Share of its pixels that are cloud by the mask."""
    reflectance: float | None
    """Mean of the valid pixels; None where there are none."""
    mtf: MtfEstimate | None
    """MTF at the Nyquist frequency of the file's own pixels, from its spectrum; None for references and where it
    cannot be measured."""
    notes: tuple[str, ...]
    """Items that could not be used, and where the answer was not used as received."""


def check_source(source: Source, retry: Retry = _RETRY) -> SourceCheck:
    """Raises RequestError without an endpoint, CatalogError without a usable item, ReadError without its pixels."""
    if source.endpoint is None:
        raise RequestError(f"source {source.name} has no endpoint: the request gives it; name one with --endpoint")
    notes: list[str] = []
    item = _first(source, notes, retry)
    box = native_geobox(item, source, WINDOW_PX)
    values, valid = read_bands(item, source, box, "nearest")
    mask = read_mask(item, source, box)
    valid &= mask != NO_DATA
    return SourceCheck(
        item=plain(item.id, 120),
        when=item.when,
        crs=f"EPSG:{box.crs.epsg}" if box.crs is not None and box.crs.epsg else plain(box.crs, 80),
        gsd_m=float(abs(box.affine.a)),
        offset=item.offset[0],
        shape=(box.shape[0], box.shape[1]),
        valid=float(valid.mean()),
        cloud=float((mask == CLOUD).mean()),
        reflectance=float(np.mean(values[:, valid])) if valid.any() else None,
        mtf=_measured_mtf(item, source) if source.role == "lr" else None,
        notes=tuple(notes),
    )


def _measured_mtf(item: SceneItem, source: Source) -> MtfEstimate | None:
    """From the middle of one scene, on its own pixels."""
    box = native_geobox(item, source, MTF_WINDOW_PX)
    values, valid = read_bands(item, source, box, "nearest")
    clear = valid & (read_mask(item, source, box) == VALID)
    return estimate_alone(measure_spectra(values, None, 1, clear, NOISE))


def _first(source: Source, notes: list[str], retry: Retry) -> SceneItem:
    left: list[str] = []
    try:
        for record in stac_items(source, None, None, None, notes.append, retry):
            if isinstance(record, BadItem):
                left.append(f"item {record.id} left out: {record.reason}")
                continue
            shown = plain(record.id, 120)
            ignored: dict[str, str] = {}
            try:
                item = scene_item(record, source, ignored.__setitem__)
            except CatalogError as error:
                left.append(f"item {shown} left out: {error}")
                continue
            left += [f"item {shown}: {reason}" for reason in ignored.values()]
            return item
    finally:
        notes += left[-_SHOWN:]
        if len(left) > _SHOWN:
            notes.append(f"{len(left) - _SHOWN} items before them left out")
    reason = f"; {left[-1]}" if left else ""
    raise CatalogError(
        f"{source.endpoint} gives no usable item of collection {source.collection} among {len(left)}{reason}"
    )
