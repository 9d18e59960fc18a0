"""Items of an interval: of the period they reach into, not only of the one in which they begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.field import ONE_FILE, catalog_of, found_in, item_of
from tests.support.stac import make_source


@pytest.mark.parametrize(
    ("properties", "used"),
    [
        ({"start_datetime": "2023-12-31T10:00:00Z", "end_datetime": "2024-01-02T10:00:00Z"}, True),
        ({"start_datetime": "2023-01-01T00:00:00Z", "end_datetime": "2025-01-01T00:00:00Z"}, True),
        ({"start_datetime": "2024-12-30T00:00:00Z", "end_datetime": "2025-02-01T00:00:00Z"}, True),
        ({"start_datetime": "2023-12-01T10:00:00", "end_datetime": "2024-01-02T10:00:00"}, True),
        ({"start_datetime": "2023-12-01T10:00:00Z", "end_datetime": "2023-12-30T10:00:00Z"}, False),
        ({"start_datetime": "2025-01-01T10:00:00Z", "end_datetime": "2025-12-30T10:00:00Z"}, False),
    ],
)
def test_an_interval_that_reaches_into_the_period_is_used(
    tmp_path: Path, properties: dict[str, Any], used: bool
) -> None:
    record = item_of()
    record["properties"] |= {"datetime": None, **properties}
    found = found_in(make_source(catalog_of(tmp_path, record), **ONE_FILE))
    assert [item.id for item in found.items] == ["a"] * used and found.dropped == ()
    if used:
        assert found.items[0].when.isoformat()[:10] == properties["start_datetime"][:10]


def test_a_moment_before_the_period_is_not_used_for_its_interval(tmp_path: Path) -> None:
    """`datetime` is the moment that counts where an item states one."""
    record = item_of(when="2023-12-31T10:00:00Z")
    record["properties"] |= {"start_datetime": "2023-12-31T10:00:00Z", "end_datetime": "2024-01-02T10:00:00Z"}
    assert found_in(make_source(catalog_of(tmp_path, record), **ONE_FILE)).items == ()
