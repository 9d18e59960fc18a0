"""Scenes from before a rolling period that are still the best available.

A cell without a clear scene in the period keeps those of the last plan, ranked with all others (choose/ranking.py).
Once a scene of the period is clear there, the cell drops the earlier ones.
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

    Empty where the source has changed since: its items may no longer match, and their pixels may be read differently.
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
"""Parts of a source that decide which scenes it has and what their pixels are."""
