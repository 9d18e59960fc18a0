"""Items and sources of plans, parsed once in a worker process: neighbouring jobs read the same ones.

The key is the record's JSON text, not the item's digest: a digest leaves out what decides no pixel, such as the
source's name or the footprint, so that two plans may hold unequal records under one digest.
"""

from __future__ import annotations

import json
from functools import lru_cache

from catalogs.item import SceneItem
from catalogs.source import Source

MOST_ITEMS = 1024
"""Items that a process holds, some 8 kB each; the least recently used are dropped."""


@lru_cache(maxsize=MOST_ITEMS)
def parse_item(text: str) -> SceneItem:
    """The item of one JSON record of a plan's table."""
    return SceneItem.from_dict(json.loads(text))


@lru_cache(maxsize=16)
def parse_source(text: str) -> Source:
    """The source of one JSON record of a plan."""
    return Source.model_validate(json.loads(text))
