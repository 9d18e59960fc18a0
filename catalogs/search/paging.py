"""One question to a STAC API, asked in parts whose answers stay within reason.

A part is a period. One that the API says, or shows, to hold more than `PART_ITEMS` is halved and asked anew, so that no
answer is paged through without end and each is sorted and kept by the server in small pieces. What lies on the border
of two parts, or came before a part was halved, is given once.
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
"""More in one part are asked for by the halves of its period."""
MAX_ITEMS = 600_000
"""More in one answer is taken for a mistake: a continent's scenes of a season are some 230,000."""
MAX_PAGES = 2_000
"""More pages in one part are taken for a mistake."""
MAX_PARTS = 2_000
"""More parts of one question are taken for a mistake."""
SHORTEST = timedelta(seconds=2)
"""A shorter period is not halved."""

Period = tuple[datetime, datetime]
Ask = Callable[[Period | None], Iterator[dict[str, Any]]]
"""Pages of the answer for a period, or for all times."""


def records_of(ask: Ask, period: Period | None, endpoint: str) -> Iterator[Any]:
    """Features of all parts, each once. Raises CatalogError where there are too many, or a page comes twice."""
    given: set[bytes] = set()
    left, parts = [period], 0
    while left:
        part = left.pop()
        parts += 1
        halves = _halves(part) if parts < MAX_PARTS else None
        count = 0
        for page in _pages(ask(part), endpoint):
            features = features_of(page)
            count += len(features)
            if halves is not None and max(count, _matched(page)) > PART_ITEMS:
                left += reversed(halves)
                break
            if count > PART_ITEMS:
                raise CatalogError(
                    f"{endpoint} offers more than {PART_ITEMS} items for {_named(part)}, which cannot be asked for in "
                    "shorter periods: take a smaller region"
                )
            for feature in features:
                if (mark := _mark(feature)) not in given:
                    given.add(mark)
                    yield feature
            if len(given) > MAX_ITEMS:
                raise CatalogError(
                    f"{endpoint} offers more than {MAX_ITEMS} items: shorten the period, or take a smaller region"
                )


def _pages(pages: Iterator[dict[str, Any]], endpoint: str) -> Iterator[dict[str, Any]]:
    seen = set()
    for number, page in enumerate(pages):
        names = tuple(str(f.get("id")) if isinstance(f, dict) else "" for f in features_of(page))
        if names in seen or number >= MAX_PAGES:
            raise CatalogError(f"{endpoint} answers the same page again, or more than {MAX_PAGES} pages: given up")
        seen.add(names)
        yield page


def _halves(period: Period | None) -> tuple[Period, Period] | None:
    """Both include the instant between them, which is a whole second: servers know no finer ones."""
    if period is None or period[1] - period[0] < SHORTEST:
        return None
    start, end = period
    middle = (start + (end - start) / 2).replace(microsecond=0)
    return (start, middle), (middle, end)


def _matched(page: dict[str, Any]) -> float:
    """How many items the API says that it has for the question, in the new spelling or the old; 0 where it does not."""
    context = page.get("context")
    stated = Fields(page).number("numberMatched"), Fields(context).number("matched")
    return max(number or 0 for number in stated)


def _mark(feature: Any) -> bytes:
    """What an item is known by: all of it but its links, which name the question."""
    kept = {k: v for k, v in feature.items() if k != "links"} if isinstance(feature, dict) else feature
    return hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=12).digest()


def _named(period: Period | None) -> str:
    return "all times" if period is None else " to ".join(when.isoformat() for when in period)
