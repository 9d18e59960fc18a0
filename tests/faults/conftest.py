"""The order of `make faults`."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Campaigns, which take all cores, the longest first, and tests that mostly wait by turns: three run at a time."""
    campaigns = sorted((item for item in items if "many_kills" in item.name), key=lambda i: "prefect" not in i.name)
    if campaigns:
        rest = [item for item in items if item not in campaigns]
        turn = -(-len(rest) // len(campaigns))
        parts = [(campaign, *rest[turn * n : turn * (n + 1)]) for n, campaign in enumerate(campaigns)]
        items[:] = [item for part in parts for item in part]
