"""Numbers of items in shards that a run leaves alone mean the same after it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dsdit.plan.item_table import grow_names, number_items
from dsdit.steps.publish.publish import publish
from dsdit.store.arrays import open_group
from tests.support.nightly_catalog import NORTH, add_scene, make_nightly_catalog, nightly_record
from tests.support.running import Ran, run_here

WHEN = datetime(2024, 7, 20, tzinfo=UTC)


def used(ran: Ran, name: str, rows: slice) -> set[str]:
    """Ids of the items in some rows of the published mosaic, by the table in the group's attributes."""
    publish(ran.plan, ran.request.output, ran.report, WHEN)
    table = open_group(ran.places.mosaic, "r").attrs["items"]
    assert isinstance(table, list)
    return {table[n]["id"] for n in np.unique(ran.lr_layer(name)[rows]) if n >= 0}


@pytest.mark.slow
def test_untouched_shards_keep_the_items_they_were_made_of(weights: Path, tmp_path: Path) -> None:
    catalog = make_nightly_catalog(tmp_path / "catalog")
    record = nightly_record(catalog, weights, tmp_path / "out")
    south, north = slice(-20, None), slice(0, 5)
    first = run_here(record)
    assert len(first.plan.layout.mosaic_jobs) == 5
    assert used(first, "ref_item", south) == {"reference"}
    before = first.lr_layer("ref_item")[south]
    add_scene(catalog, "a-new-one", "2024-07-08T10:20:21Z", NORTH, gain=1.2)
    second = run_here(record)
    written = {receipt.job for receipt in second.receipts if receipt.step == "mosaic"}
    assert len(written) == 3
    assert [item["id"] for item in second.plan.items] == ["first", "a-new-one", "reference"]
    assert second.lr_layer("ref_item")[south].tobytes() == before.tobytes()
    assert used(second, "ref_item", south) == {"reference"} == used(second, "ref_item", north)
    assert used(second, "lr_item", south) == {"first"}
    assert used(second, "lr_item", north) == {"a-new-one"}
    age = second.lr_layer("reference_age")
    for part, days in ((south, 430 + (23 * 3600 + 20 * 60 + 21) / 86400), (north, 432 + 84021 / 86400)):
        assert np.unique(age[part]) == pytest.approx([days], abs=1e-4)
    third = run_here(record)
    assert third.receipts == []
    assert third.plan.digest == second.plan.digest


def test_the_table_only_grows() -> None:
    items = [{"id": n, "source": "s", "when": "2024-07-06T00:00:00+00:00", "more": n} for n in "abc"]
    names = grow_names((), items[1:])
    assert [json.loads(name)["id"] for name in names] == ["b", "c"]
    grown = grow_names(names, items)
    assert grown[:2] == names
    assert grow_names(grown, items) == grown
    assert number_items(grown, items).tolist() == [2, 0, 1, -1]
