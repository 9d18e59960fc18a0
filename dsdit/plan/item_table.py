"""Numbers of items in a mosaic's arrays: places in a table that only grows.

Another night's plan has other items, while its mosaic keeps the shards that are not due, with the numbers in them. So
an item keeps the number it was given first, whatever plan it comes back in. Items are told apart by source, id and
time: a scene that was processed again is the same scene.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def item_name(item: Mapping[str, Any]) -> str:
    """JSON of what a reader of the mosaic is told of an item."""
    return json.dumps({key: item[key] for key in ("id", "source", "when")}, sort_keys=True)


def grow_names(names: Sequence[str], items: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """`names` as they are, and behind them those of `items` that are new, in their order."""
    found = dict.fromkeys(map(str, names))
    found.update(dict.fromkeys(map(item_name, items)))
    return tuple(found)


def number_items(names: Sequence[str], items: Iterable[Mapping[str, Any]]) -> NDArray[np.int32]:
    """(item + 1,) number of each item; the last entry is -1, for no item. Raises KeyError for one without a name."""
    place = {name: number for number, name in enumerate(names)}
    return np.array([*(place[item_name(item)] for item in items), -1], np.int32)
