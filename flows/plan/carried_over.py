"""Scenes that a rolling period has left behind and that still are the best there is.

What a night took for clear stays until a scene of the period is clear there: a cell whose period holds none keeps those
that the last plan gave it, in the order of all (choose/ranking.py). A cell with a clear one of the period forgets
the others.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import dsdit.plan.files
from catalogs.item import SceneItem
from catalogs.source import Source
from dsdit.store.objects import join


def carried_scenes(output: str, source: Source, start: datetime, found: Collection[SceneItem] = ()) -> list[SceneItem]:
    """Scenes of `source` in the last plan at `output` that were taken before `start` and are not `found` anyway.

    None where the source has changed since: what it once allowed, and read in another way, is not its answer any more.
    """
    folder = join(output, "plans")
    kept = dsdit.plan.files.latest_sources(folder).get(source.name, {})
    record = source.model_dump(mode="json")
    if any(kept.get(key) != record[key] for key in _SAME):
        return []
    known = {scene.digest for scene in found}
    items = dsdit.plan.files.latest_items(folder)
    scenes = (SceneItem.from_dict(item) for item in items if item["source"] == source.name)
    return [scene for scene in scenes if scene.when < start and scene.digest not in known]


_SAME = ("endpoint", "collection", "where", "bands", "rule", "mask", "nodata", "alpha", "mtf_nyquist")
"""Parts of a source that say which scenes it has and what their pixels are."""
