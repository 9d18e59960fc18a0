"""Pagination of a STAC API: searches that match more than 20,000 items are split into time windows.

A part is a period. One that matches more than `PART_ITEMS`, by the API's own count or by what arrives, is halved and
requested anew, so that no answer has pages without end and the server sorts and holds small pieces. Items on the border
of two parts, or received before a part was halved, are yielded once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from catalogs.json_fields import Fields
from catalogs.search.parsing import features_of
from dsdit.errors import CatalogError

PAGE = 100
"""Items a page."""
PART_ITEMS = 20_000
"""With more matches in one part its period is halved."""
MAX_ITEMS = 600_000
"""More in one answer counts as a mistake: a continent's scenes of a season are some 230,000."""
MAX_PAGES = 2_000
"""More pages in one part count as a mistake."""
MAX_PARTS = 2_000
"""More parts of one search count as a mistake."""
SHORTEST = timedelta(seconds=2)
"""A shorter period is not halved."""

Period = tuple[datetime, datetime]
Fetch = Callable[[Period | None], Iterator[dict[str, Any]]]
"""Pages of the answer for a period, or for all times."""


def records_of(fetch: Fetch, period: Period | None, endpoint: str) -> Iterator[Any]:
    """Features of all parts, each once. Raises CatalogError where there are too many, or a page comes twice."""
    yielded: set[bytes] = set()
    left, parts = [period], 0
    while left:
        part = left.pop()
        parts += 1
        halves = _halves(part) if parts < MAX_PARTS else None
        count = 0
        for page in _pages(fetch(part), endpoint):
            features = features_of(page)
            count += len(features)
            if halves is not None and max(count, _matched(page)) > PART_ITEMS:
                left += reversed(halves)
                break
            if count > PART_ITEMS:
                raise CatalogError(
                    f"{endpoint} offers more than {PART_ITEMS} items for {_named(part)}, which cannot be requested in "
                    "shorter periods: take a smaller region"
                )
            for feature in features:
                if (mark := _mark(feature)) not in yielded:
                    yielded.add(mark)
                    yield feature
            if len(yielded) > MAX_ITEMS:
                raise CatalogError(
                    f"{endpoint} offers more than {MAX_ITEMS} items: shorten the period, or take a smaller region"
                )


def _pages(pages: Iterator[dict[str, Any]], endpoint: str) -> Iterator[dict[str, Any]]:
    received = set()
    for number, page in enumerate(pages):
        names = tuple(str(f.get("id")) if isinstance(f, dict) else "" for f in features_of(page))
        if names in received or number >= MAX_PAGES:
            raise CatalogError(f"{endpoint} answers the same page again, or more than {MAX_PAGES} pages: stopped")
        received.add(names)
        yield page


def _halves(period: Period | None) -> tuple[Period, Period] | None:
    """Both include the instant between them, which is a whole second: servers know no finer ones."""
    if period is None or period[1] - period[0] < SHORTEST:
        return None
    start, end = period
    middle = (start + (end - start) / 2).replace(microsecond=0)
    return (start, middle), (middle, end)


def _matched(page: dict[str, Any]) -> float:
    """Number of matches by the API's own count, under the new name or the old; 0 where it gives none."""
    context = page.get("context")
    stated = Fields(page).number("numberMatched"), Fields(context).number("matched")
    return max(number or 0 for number in stated)


def _mark(feature: Any) -> bytes:
    """Digest of an item without its links, which depend on the query."""
    content = {k: v for k, v in feature.items() if k != "links"} if isinstance(feature, dict) else feature
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).digest()


def _named(period: Period | None) -> str:
    return "all times" if period is None else " to ".join(when.isoformat() for when in period)
