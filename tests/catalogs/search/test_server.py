"""search against a live STAC API on this machine, behind a proxy that puts in the faults of real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from shapely.geometry import MultiPolygon, Polygon, box, shape

from catalogs.search import http
from catalogs.search.api import stac_items
from catalogs.search.usable_scenes import SearchResult, search_items
from dsdit.errors import CatalogError
from tests.catalogs.search.test_search import AREA, END, START
from tests.support.stac import make_item, make_source
from tests.support.web import Faults, Quiet, fault_proxy, serving, stac_server

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
    monkeypatch.setattr("catalogs.search.api.TIMEOUT_S", (2.0, 0.5))
    with fault_proxy(server) as proxy:
        yield proxy


def found(faults: Faults, where: str | None = None, **retry: Any) -> SearchResult:
    return search_items(make_source(faults.own, where=where), AREA, START, END, retry=http.RETRY.new(**FAST | retry))


FAST: dict[str, Any] = {"backoff_factor": 0.01, "backoff_jitter": 0.0}


def test_all_pages_come_once(faults: Faults) -> None:
    result = found(faults)
    assert len(result.items) == NUMBER
    assert len(faults.searches) == 3
    assert result.notes == ()
    assert all("filter" not in requested and "query" not in requested for requested in faults.searches)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_request_to_a_busy_server_is_repeated(faults: Faults, status: int) -> None:
    faults.failing = [status, status]
    assert len(found(faults).items) == NUMBER
    assert len(faults.searches) == 5


def test_patience_has_an_end(faults: Faults) -> None:
    faults.failing = [503] * 50
    with pytest.raises(CatalogError, match=r"cannot be queried: 503 error responses, despite retries"):
        found(faults)
    assert len(faults.searches) == 1 + http.RETRY.total


def test_a_requested_pause_is_cut_short(faults: Faults) -> None:
    faults.failing, faults.headers = [429], {"retry_after": "86400"}
    assert http.RETRY.retry_after_max == http.MAX_PAUSE_S <= 60
    assert len(found(faults, retry_after_max=1).items) == NUMBER


def test_lasting_failures_are_not_retried(faults: Faults) -> None:
    faults.failing = [400] * 9
    with pytest.raises(CatalogError, match="HTTP status 400"):
        found(faults)
    assert len(faults.searches) == 1


def test_a_slow_answer_is_requested_again_and_then_given_up(faults: Faults) -> None:
    faults.slow = [1.0]
    assert len(found(faults).items) == NUMBER
    faults.slow = [1.0] * 9
    with pytest.raises(CatalogError, match="does not answer in time"):
        found(faults, total=2)


@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_a_body_that_breaks_off_or_stalls_is_requested_again_and_then_given_up(
    faults: Faults, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr("catalogs.search.api.TIMEOUT_S", (10.0, 1.5 if seconds else 30.0))
    faults.broken = [seconds]
    assert len(found(faults).items) == NUMBER
    assert len(faults.searches) == 4
    faults.broken, faults.searches = [seconds] * 9, []
    said = "it does not answer in time" if seconds else "its answers break off, despite retries"
    with pytest.raises(CatalogError, match=rf"^catalog {faults.own} cannot be queried: {said}"):
        found(faults, total=2)
    assert len(faults.searches) == 3


class _Relay(Quiet):
    """A proxy that answers by itself."""

    def do_GET(self) -> None:
        self.reply(200, self.path.encode())

    def do_CONNECT(self) -> None:
        self.reply(418)


@pytest.mark.parametrize(
    ("endpoint", "link", "followed"),
    [
        ("http://catalog.example", "http://catalog.example:80/search", True),
        ("http://catalog.example:80", "http://catalog.example/search", True),
        ("https://catalog.example", "https://catalog.example:443/search", True),
        ("https://catalog.example:443", "https://catalog.example/search", True),
        ("http://catalog.example", "https://catalog.example:443/search", True),
        ("http://catalog.example", "http://catalog.example:443/search", False),
        ("https://catalog.example", "https://catalog.example:80/search", False),
        ("https://catalog.example", "http://catalog.example:443/search", False),
        ("https://catalog.example", "https://catalog.example:8443/search", False),
    ],
)
def test_a_port_that_is_the_schemes_own_may_be_written_or_not(endpoint: str, link: str, followed: bool) -> None:
    requested = http.OwnHostSession(endpoint, http.RETRY.new(total=0))
    request = requested.prepare_request(requests.Request("GET", link))
    with serving(_Relay) as relay:
        if not followed:
            with pytest.raises(CatalogError, match=r"sends us to 'catalog\.example.*not followed"):
                requested.send(request, proxies={"http": relay, "https": relay})
        elif link.startswith("http:"):
            assert requested.send(request, proxies={"http": relay}).text == link
        else:
            with pytest.raises(requests.exceptions.ProxyError, match="418"):
                requested.send(request, proxies={"https": relay})


def test_without_conformance_no_filter_is_sent_and_it_is_applied_here(faults: Faults) -> None:
    expected = {item["id"] for item in served() if item["properties"]["platform"] == "sentinel-2b"}
    result = found(faults, WHERE)
    assert {item.id for item in result.items} == expected
    assert all("filter" not in requested for requested in faults.searches)
    assert result.notes == (f"{faults.own} does not declare that it supports filters: {WHERE!r} is applied here",)


def test_a_server_that_claims_filters_and_answers_empty_is_queried_without_one(faults: Faults) -> None:
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
    with pytest.raises(CatalogError, match="does not declare that it can be searched"):
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


@pytest.fixture
def patient(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """The proxy, whose answers may take their time: requests are counted."""
    monkeypatch.setattr("catalogs.search.api.TIMEOUT_S", (10.0, 30.0))
    return faults


def posts(landing: dict[str, Any], method: str | None) -> dict[str, Any]:
    """The landing page with one search link, of this method."""
    links = [link for link in landing["links"] if link["rel"] != "search"]
    search = {**next(link for link in landing["links"] if link["rel"] == "search")}
    search.pop("method", None)
    return {**landing, "links": [*links, search | ({} if method is None else {"method": method})]}


@pytest.mark.parametrize(("method", "tried"), [("GET", 0), ("POST", 1), (None, 1)])
def test_an_api_that_takes_get_alone_is_queried_by_get(patient: Faults, method: str | None, tried: int) -> None:
    expected = found(patient)
    patient.searches, patient.get_only = [], True
    patient.landing = lambda landing: posts(landing, method)
    assert found(patient) == expected
    assert len(patient.searches) == tried
    assert len(patient.gets) == 3
    assert json.loads(patient.gets[0]["intersects"])["type"] == "Polygon"
    assert patient.gets[0]["datetime"] == "2024-05-01T00:00:00Z/2024-07-01T00:00:00Z"


def test_a_filter_is_said_by_get_as_text_and_applied_here_where_it_is_refused(patient: Faults) -> None:
    patient.get_only, patient.conforms = True, lambda known: [*known, FILTER]
    patient.page = lambda page: (
        page if "filter" not in patient.gets[-1] else {**page, "features": served(), "links": []}
    )
    requested = found(patient, WHERE)
    assert {item.platform for item in requested.items} == {"sentinel-2b"}
    assert {query["filter-lang"] for query in patient.gets} == {"cql2-text"}
    assert {query["filter"] for query in patient.gets} == {WHERE}
    patient.refused = lambda query: 400 if "filter" in query else 200
    again = found(patient, WHERE)
    assert again.items == requested.items
    assert again.notes == (f"{patient.own} does not take by GET the filter {WHERE!r}: repeated without it",)


def test_a_long_footprint_is_queried_by_its_boxes_in_a_url(patient: Faults) -> None:
    patient.get_only = True
    west, east = (box(*b).boundary.segmentize(0.001) for b in ((10.1, 48.1, 10.2, 48.2), (-60, -10, -59, -9)))
    footprint = MultiPolygon([Polygon(west), Polygon(east)])
    source = make_source(patient.own)
    assert len(search_items(source, footprint, START, END).items) == NUMBER
    requested = shape(json.loads(patient.gets[0]["intersects"]))
    assert requested.equals(MultiPolygon([box(10.1, 48.1, 10.2, 48.2), box(-60, -10, -59, -9)]))


@pytest.mark.parametrize("reported", [True, False])
def test_a_large_answer_is_split_into_periods_and_each_item_comes_once(
    patient: Faults, monkeypatch: pytest.MonkeyPatch, reported: bool
) -> None:
    expected = found(patient)
    monkeypatch.setattr("catalogs.search.paging.PART_ITEMS", 40)
    monkeypatch.setattr("catalogs.search.paging.PAGE", 30)
    monkeypatch.setattr("catalogs.search.api.PAGE", 30)
    items, patient.searches = {item["id"]: item for item in served()}, []

    def page(record: dict[str, Any]) -> dict[str, Any]:
        start, end = map(datetime.fromisoformat, patient.searches[-1]["datetime"].split("/"))
        times = [datetime.fromisoformat(item["properties"]["datetime"]) for item in items.values()]
        record.pop("numberMatched", None)
        return record | ({"numberMatched": sum(start <= when <= end for when in times)} if reported else {})

    patient.page = page
    result = found(patient)
    assert result == expected
    assert len(result.answer) == NUMBER
    assert len({requested["datetime"] for requested in patient.searches}) > NUMBER / 40
    assert len(patient.searches) < 40


def test_a_server_that_always_claims_more_is_read_all_the_same(
    patient: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = found(patient)
    monkeypatch.setattr("catalogs.search.paging.MAX_PARTS", 12)
    patient.page = lambda page: {**page, "numberMatched": 10**9}
    assert found(patient) == expected


def test_an_answer_beyond_the_limits_is_refused_with_the_way_out(
    patient: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalogs.search.paging.MAX_ITEMS", 120)
    with pytest.raises(CatalogError, match="offers more than 120 items: shorten the period, or take a smaller region"):
        found(patient)
    monkeypatch.setattr("catalogs.search.paging.MAX_ITEMS", 600_000)
    monkeypatch.setattr("catalogs.search.paging.PART_ITEMS", 120)
    monkeypatch.setattr("catalogs.search.paging.MAX_PARTS", 1)
    with pytest.raises(CatalogError, match=r"more than 120 items for 2024-05-01.*: take a smaller region"):
        found(patient)


def test_an_answer_without_end_is_cut_off(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_JSON_BYTES", 200_000)
    faults.page = lambda page: {**page, "filler": "x" * 300_000}
    with pytest.raises(CatalogError, match="answers more than 200000 bytes at once"):
        found(faults)


def test_items_of_anywhere_are_requested_a_page_at_a_time(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    items = stac_items(make_source(faults.own), None, None, None)
    assert next(items)
    assert len(faults.searches) == 1
    assert "intersects" not in faults.searches[0]
    monkeypatch.setattr("catalogs.search.api.SAMPLE", 120)
    assert len(list(stac_items(make_source(faults.own), None, None, None))) == 120
    assert len(faults.searches) == 3


def test_nothing_there_is_an_empty_answer(faults: Faults) -> None:
    result = search_items(make_source(faults.own), box(-60, -10, -59, -9), START, END)
    assert result.items == result.dropped == result.answer == ()


def test_files_and_server_agree_under_a_filter(faults: Faults, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": served()}))
    local = search_items(make_source(path, where=WHERE), AREA, START, END)
    assert local.items == found(faults, WHERE).items
    assert local.notes == ()
