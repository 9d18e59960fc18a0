"""A source's filter on items: a CQL2 expression, sent to servers that support filters and always applied here too.

Owner of cql2. A filter must not decide between scenes of a cell (a cloudy scene is clear somewhere): it excludes items
that are useful nowhere, such as those of another instrument.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cql2


@lru_cache(maxsize=32)
def _parsed(where: str) -> cql2.Expr:
    try:
        expression = cql2.parse_text(where)
        expression.validate()
    except Exception as error:
        raise ValueError(f"{where!r} is no CQL2: {' '.join(str(error).split())}") from error
    return expression


def check_filter(where: str) -> None:
    """Raises ValueError where `where` is no CQL2 text."""
    _parsed(where)


def as_json(where: str) -> dict[str, Any]:
    """The expression in CQL2's JSON, for a server."""
    return dict(_parsed(where).to_json())


def matches(where: str, record: Mapping[str, Any]) -> bool:
    """Whether an item, as a plain record, satisfies the expression; without a property that it names it does not."""
    try:
        return bool(_parsed(where).matches(dict(record)))
    except Exception:  # noqa: BLE001 - cql2 raises a bare Exception where a property is not there
        return False
