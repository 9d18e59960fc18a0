"""From a foreign JSON record to a pystac Item, or to the reason why it is none; of an API and of files alike."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pystac

from catalogs.trust import plain

MAX_ITEM_BYTES = 2 * 2**20
"""Largest item, as JSON, that is believed; real ones have some 20 kB."""
MAX_ID = 256
"""Characters of the longest id that is believed."""
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True)
class BadItem:
    """A record that is no STAC item, or none that is believed; the rest of the answer is still of use."""

    id: str
    """Its id, as far as it has one."""
    reason: str


def read_item(record: Any) -> pystac.Item | BadItem:
    """The item of a record of any STAC version."""
    name = record.get("id") if isinstance(record, dict) else None
    shown = plain(name if name not in (None, "") else "without id", 120)
    if isinstance(name, str) and (reason := _odd_id(name)):
        return BadItem(shown, reason)
    try:
        size = len(json.dumps(record))
        if size > MAX_ITEM_BYTES:
            return BadItem(shown, f"it has {size} bytes: more than {MAX_ITEM_BYTES} are not believed")
        return pystac.Item.from_dict(record, migrate=True, preserve_dict=False)
    except Exception as error:  # noqa: BLE001 - a foreign record may break pystac in any way
        return BadItem(shown, f"it is no STAC item: {plain(error, 160)}")


def _odd_id(name: str) -> str | None:
    if len(name) > MAX_ID:
        return f"its id has {len(name)} characters: more than {MAX_ID} are not believed"
    if _ODD.search(name) or ".." in PurePosixPath(name).parts:
        return "its id holds control characters, a backslash or '..': such names are not used"
    return None
