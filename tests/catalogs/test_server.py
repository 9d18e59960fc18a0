"""search against a live STAC API on this machine, behind a proxy that puts in the faults of real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box

from catalogs import session
from catalogs.endpoints import stac_items
from catalogs.search import SearchResult, search
from dsdit.errors import CatalogError
from tests.catalogs.test_search import AREA, END, START
from tests.support.stac import make_item, make_source
from tests.support.web import Faults, fault_proxy, stac_server

NUMBER = 230
"""Items of the catalog: more than two pages hold."""
WHERE = "platform = 'sentinel-2b'"
FILTER = "https://api.stacspec.org/v1.0.0/item-search#filter"


def served() -> list[dict[str, Any]]:
    """Items of two satellites, a third of them Sentinel-2B's."""
    return [
        make_item(f"scene-{k:03}", f"2024-06-{k % 28 + 1:02}T10:{k % 60:02}:00Z", platform=f"sentinel-2{'aab'[k % 3]}")
        for k in range(NUMBER)
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with stac_server(served(), tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def faults(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The proxy; back-off and time-outs are as in use, but short."""
    monkeypatch.setattr("catalogs.endpoints.TIMEOUT_S", (2.0, 0.5))
    with fault_proxy(server) as proxy:
        yield proxy


def found(faults: Faults, where: str | None = None, **retry: Any) -> SearchResult:
    return search(make_source(faults.own, where=where), AREA, START, END, retry=session.RETRY.new(**FAST | retry))


FAST: dict[str, Any] = {"backoff_factor": 0.01, "backoff_jitter": 0.0}


def test_all_pages_come_once(faults: Faults) -> None:
    result = found(faults)
    assert len(result.items) == NUMBER
    assert len(faults.searches) == 3
    assert result.notes == ()
    assert all("filter" not in asked and "query" not in asked for asked in faults.searches)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(faults: Faults, status: int) -> None:
    faults.failing = [status, status]
    assert len(found(faults).items) == NUMBER
    assert len(faults.searches) == 5


def test_patience_has_an_end(faults: Faults) -> None:
    faults.failing = [503] * 50
    with pytest.raises(CatalogError, match=r"cannot be asked: 503 error responses, though asked again"):
        found(faults)
    assert len(faults.searches) == 1 + session.RETRY.total


def test_a_pause_that_is_asked_for_is_cut_short(faults: Faults) -> None:
    faults.failing, faults.headers = [429], {"retry_after": "86400"}
    assert session.RETRY.retry_after_max == session.MAX_PAUSE_S <= 60
    assert len(found(faults, retry_after_max=1).items) == NUMBER


def test_what_is_no_fault_of_the_moment_is_not_asked_again(faults: Faults) -> None:
    faults.failing = [400] * 9
    with pytest.raises(CatalogError, match="HTTP status 400"):
        found(faults)
    assert len(faults.searches) == 1


def test_a_slow_answer_is_asked_for_again_and_then_given_up(faults: Faults) -> None:
    faults.slow = [1.0]
    assert len(found(faults).items) == NUMBER
    faults.slow = [1.0] * 9
    with pytest.raises(CatalogError, match="does not answer in time"):
        found(faults, total=2)


def test_without_conformance_no_filter_is_sent_and_it_is_applied_here(faults: Faults) -> None:
    expected = {item["id"] for item in served() if item["properties"]["platform"] == "sentinel-2b"}
    result = found(faults, WHERE)
    assert {item.id for item in result.items} == expected
    assert all("filter" not in asked for asked in faults.searches)
    assert result.notes == (f"{faults.own} does not say that it knows filters: {WHERE!r} is applied here",)


def test_a_server_that_claims_filters_and_answers_empty_is_asked_without(faults: Faults) -> None:
    faults.conforms = lambda known: [*known, FILTER]
    faults.page = lambda page: page if "filter" not in faults.searches[-1] else {**page, "features": [], "links": []}
    result = found(faults, WHERE)
    assert {item.platform for item in result.items} == {"sentinel-2b"}
    assert len(result.items) == NUMBER // 3
    assert faults.searches[0]["filter"] == {"op": "=", "args": [{"property": "platform"}, "sentinel-2b"]}
    assert faults.searches[0]["filter-lang"] == "cql2-json"
    assert "finds nothing with filter" in result.notes[0]


def test_a_server_that_claims_filters_and_ignores_them_is_filtered_here(faults: Faults) -> None:
    faults.conforms = lambda known: [*known, FILTER]

    def without_filter(page: dict[str, Any]) -> dict[str, Any]:
        return {**page, "features": [i for i in served() if i["properties"]["platform"] != "x"], "links": []}

    faults.page = without_filter
    result = found(faults, WHERE)
    assert {item.platform for item in result.items} == {"sentinel-2b"}
    assert result.notes == ()


def test_a_server_that_cannot_be_searched_says_so(faults: Faults) -> None:
    faults.conforms = lambda known: ["https://api.stacspec.org/v1.0.0/core"]
    with pytest.raises(CatalogError, match="does not say that it can be searched"):
        found(faults)
    assert faults.searches == []


def test_a_next_link_to_another_host_is_not_followed(faults: Faults) -> None:
    elsewhere = {"rel": "next", "method": "POST", "href": "https://elsewhere.example/search", "body": {}}
    faults.page = lambda page: {**page, "links": [elsewhere]}
    with pytest.raises(CatalogError, match=r"sends us to 'elsewhere\.example'"):
        found(faults)
    assert len(faults.searches) == 1


def test_a_page_that_comes_for_ever_is_given_up(faults: Faults) -> None:
    again = {"rel": "next", "method": "POST", "href": f"{faults.own}/search", "merge": True, "body": {}}
    faults.page = lambda page: {**page, "features": [make_item("one")], "links": [again]}
    with pytest.raises(CatalogError, match="same page again"):
        found(faults)
    assert len(faults.searches) == 2


def test_an_answer_without_end_is_cut_off(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_JSON_BYTES", 200_000)
    faults.page = lambda page: {**page, "filler": "x" * 300_000}
    with pytest.raises(CatalogError, match="answers more than 200000 bytes at once"):
        found(faults)


def test_a_source_is_asked_for_a_few_items_of_anywhere(faults: Faults) -> None:
    items = list(stac_items(make_source(faults.own), None, None, None))
    assert len(items) == 10
    assert "intersects" not in faults.searches[0]


def test_nothing_there_is_an_empty_answer(faults: Faults) -> None:
    result = search(make_source(faults.own), box(-60, -10, -59, -9), START, END)
    assert result.items == result.dropped == result.answer == ()


def test_files_and_server_agree_under_a_filter(faults: Faults, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": served()}))
    local = search(make_source(path, where=WHERE), AREA, START, END)
    assert local.items == found(faults, WHERE).items
    assert local.notes == ()
