"""Parsing of untrusted JSON records into pystac Items, or into the reason why one is not usable."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pystac

from catalogs.allowed import plain

MAX_ITEM_BYTES = 2 * 2**20
"""Largest item, as JSON, that is accepted; real ones have some 20 kB."""
MAX_ID = 256
"""Characters of the longest id that is accepted."""


@dataclass(frozen=True)
class BadItem:
    """A record that is not a STAC item, or beyond the limits; the rest of the answer can still be used."""

    id: str
    """Its id, as far as it has one."""
    reason: str


def links_of(record: dict[str, Any], *kinds: str) -> list[str]:
    """Hrefs of a catalog's links of these kinds, in their order; anything else is skipped."""
    links = record.get("links")
    found = [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []
    return [link["href"] for link in found if link.get("rel") in kinds and isinstance(link.get("href"), str)]


def features_of(record: dict[str, Any]) -> list[Any]:
    """Records of a collection of items, or of a page of them."""
    features = record.get("features")
    return features if isinstance(features, list) else []


def read_item(record: Any) -> pystac.Item | BadItem:
    """The item of a record of any STAC version."""
    name = record.get("id") if isinstance(record, dict) else None
    shown = plain(name if name not in (None, "") else "without id", 120)
    if isinstance(name, str) and (reason := _odd_id(name)):
        return BadItem(shown, reason)
    try:
        size = len(json.dumps(record, ensure_ascii=False).encode())
        if size > MAX_ITEM_BYTES:
            return BadItem(shown, f"it has {size} bytes: more than {MAX_ITEM_BYTES} are not accepted")
        item = pystac.Item.from_dict(record, migrate=True, preserve_dict=False)
        _check_types(item)
        return item
    except Exception as error:  # noqa: BLE001 - a foreign record may break pystac in any way
        return BadItem(shown, f"it is no STAC item: {plain(error, 160)}")


def _check_types(item: pystac.Item) -> None:
    """Raises ValueError where what pystac takes as it comes is no text."""
    if not isinstance(item.id, str) or not item.id:
        raise ValueError(f"its id is {ascii(item.id)[:80]}: text is expected")
    if not (item.collection_id is None or isinstance(item.collection_id, str)):
        raise ValueError(f"its collection is {ascii(item.collection_id)[:80]}: text is expected")
    for key, asset in item.assets.items():
        if not isinstance(asset.href, str):
            raise ValueError(f"href of its asset {key} is {ascii(asset.href)[:80]}: text is expected")


def _odd_id(name: str) -> str | None:
    if len(name) > MAX_ID:
        return f"its id has {len(name)} characters: more than {MAX_ID} are not accepted"
    if not name.isprintable() or "\\" in name or ".." in PurePosixPath(name).parts:
        return "its id holds characters that cannot be printed, a backslash or '..': such names are not used"
    return None
