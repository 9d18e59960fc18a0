"""Numbers of items in a mosaic's arrays: row numbers of a table of names to which rows are only added.

The plan of a later run has other items, while shards that are not due stay in the mosaic with the numbers in them. So
an item keeps its first number in every later plan. Items are identified by source, id and time: a reprocessed scene is
the same scene.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def item_name(item: Mapping[str, Any]) -> str:
    """JSON of an item's id, source and time: what a reader of the mosaic learns of it."""
    return json.dumps({key: item[key] for key in ("id", "source", "when")}, sort_keys=True)


def grow_names(names: Sequence[str], items: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """`names`, unchanged, followed by those of `items` that are new, in their order."""
    found = dict.fromkeys(map(str, names))
    found.update(dict.fromkeys(map(item_name, items)))
    return tuple(found)


def number_items(names: Sequence[str], items: Iterable[Mapping[str, Any]]) -> NDArray[np.int32]:
    """(item + 1,) number of each item; the last entry is -1, for no item. Raises KeyError for one without a name."""
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([*(numbers[item_name(item)] for item in items), -1], np.int32)
