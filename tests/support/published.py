"""A finished run published into a store of versions, without a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsdit.mosaic.template import create_mosaic
from dsdit.mosaic.version import Kind
from dsdit.mosaic.versions import mosaic_store
from dsdit.steps.publish.publish import publish
from dsdit.store.arrays import forget_arrays, open_group
from tests.support.running import NOW, Ran


def publish_copy(ran: Ran, output: Path, kind: Kind, lighter: int = 0) -> str:
    """One more version at `output` with the pixels of `ran`, `lighter` by so many stored steps; its location."""
    store = mosaic_store(str(output), kind)
    version = store.begin()
    forget_arrays()
    source: Any = open_group(ran.places.mosaic, "r")
    with store.writing(version) as mosaic:
        create_mosaic(ran.plan, mosaic)
        target: Any = open_group(mosaic)
        for name in ("0", "lr", *(["ref"] if ran.plan.keep_reference else [])):
            for _, array in source[name].arrays():
                if array.ndim >= 2:
                    step = lighter if array.basename == "sr" else 0
                    target[array.path][...] = array[...] + array.dtype.type(step)
        publish(ran.plan, version.folder, ran.report, NOW, mosaic, store.name)
    store.publish(version, 2)
    return f"{output}/{store.name}"
