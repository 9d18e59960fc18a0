"""Items of a source as one iterator of pystac Items: from a STAC API, a static catalog over HTTP, or files on disk.

Owner of pystac-client. An API's conformance is checked before a filter is sent: servers without filters answer with
nothing, or with everything. Where no filter is announced, and where a filtered query finds nothing, the query is sent
without one and the filter is applied here; the caller is notified.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pystac
import requests
from pystac_client import Client
from pystac_client.conformance import ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import NoConformsTo, PystacClientWarning
from shapely import Geometry
from shapely.geometry import MultiPolygon, box, mapping
from urllib3 import Retry

from catalogs.allowed import plain
from catalogs.cql2_filter import as_json, matches
from catalogs.search.geoparquet import is_geoparquet, unpack
from catalogs.search.http import RETRY, TIMEOUT_S, OwnHostSession
from catalogs.search.local_catalog import local_items
from catalogs.search.paging import PAGE, Period, records_of
from catalogs.search.parsing import BadItem, links_of, read_item
from catalogs.search.static_catalog import placed_items, static_items
from catalogs.source import Source
from dsdit.errors import CatalogError

SAMPLE = 1_000
"""Most items that are read where no footprint is given."""
_MAX_QUERY = 2_000
"""Characters of the longest footprint that goes into a URL."""

Note = Callable[[str], None]


def stac_items(
    source: Source,
    footprint: Geometry | None,
    start: datetime | None,
    end: datetime | None,
    note: Note = lambda text: None,
    retry: Retry = RETRY,
) -> Iterator[pystac.Item | BadItem]:
    """Items of the source's collection and filter; of an API those that match footprint and period.

    Without a footprint up to `SAMPLE` items of anywhere are requested from an API, page by page. `note` is called with
    a sentence where the answer is not used as received. Raises CatalogError.
    """
    found = local_items(source) if source.is_local else _web_items(source, footprint, start, end, note, retry)
    for item in found:
        if isinstance(item, BadItem) or source.where is None or matches(source.where, item.to_dict(False, False)):
            yield item


def _web_items(
    source: Source, footprint: Geometry | None, start: datetime | None, end: datetime | None, note: Note, retry: Retry
) -> Iterator[pystac.Item | BadItem]:
    endpoint = source.endpoint or ""
    period = None if start is None or end is None else (start, end)
    with _catalog_errors(endpoint):
        io = StacApiIO(timeout=TIMEOUT_S)
        io.session = OwnHostSession(endpoint, retry)
        if is_geoparquet(Path(urlsplit(endpoint).path)):
            answer = io.session.get(endpoint, timeout=TIMEOUT_S)
            answer.raise_for_status()
            yield from placed_items(((endpoint, record) for record in unpack(answer.content, endpoint)), source)
            return
        root = io.read_json(endpoint)
        if not isinstance(root, dict):
            raise CatalogError(f"catalog {endpoint} answers no STAC: an object is expected")
        if "conformsTo" not in root and not links_of(root, "search"):
            yield from static_items(root, io.read_json, source, footprint, period, note)
            return
        api = _Api(_open(endpoint, io), note)
        found = _answers(api, source, footprint, period, note)
        yield from map(read_item, found if footprint is not None else islice(found, SAMPLE))


def _answers(api: _Api, source: Source, footprint: Geometry | None, period: Period | None, note: Note) -> Iterator[Any]:
    """Records of the API, with its own filter where it supports filters and finds something with it."""
    endpoint, where = source.endpoint or "", source.where
    query: dict[str, Any] = {"collections": [source.collection or ""], "limit": PAGE}
    if where is not None and not api.client.conforms_to(ConformanceClasses.FILTER):
        note(f"{endpoint} does not declare that it supports filters: {where!r} is applied here")
    elif where is not None:
        empty = True
        try:
            filtered = partial(api.pages, {**query, "filter": as_json(where)}, footprint)
            for record in records_of(filtered, period, endpoint):
                empty = False
                yield record
            problem = "finds nothing with"
        except APIError as error:
            if api.method == "POST" or _status(error) not in _NOT_THIS:
                raise
            problem = "does not take by GET the"
        if not empty:
            return
        note(f"{endpoint} {problem} filter {where!r}: repeated without it")
    yield from records_of(partial(api.pages, query, footprint), period, endpoint)


_NO_POST = (405, 501)
_NOT_THIS = (400, 404, 414, 422, 501)


class _Api:
    """A searchable catalog and its HTTP method: POST, unless its links or its answers require GET."""

    def __init__(self, client: Client, note: Note) -> None:
        self.client, self._note = client, note
        stated = [str(link.extra_fields.get("method", "")).upper() for link in client.get_links("search")]
        self.method = "GET" if stated and all(method == "GET" for method in stated) else "POST"

    def pages(
        self, query: dict[str, Any], footprint: Geometry | None, period: Period | None
    ) -> Iterator[dict[str, Any]]:
        """Pages of the answer. Raises APIError."""
        try:
            yield from self._search(query, footprint, period)
        except APIError as error:
            if self.method == "GET" or _status(error) not in _NO_POST:
                raise
            self.method = "GET"
            yield from self._search(query, footprint, period)

    def _search(
        self, query: dict[str, Any], footprint: Geometry | None, period: Period | None
    ) -> Iterator[dict[str, Any]]:
        parameters = dict(query)
        if footprint is not None:
            parameters["intersects"] = mapping(footprint if self.method == "POST" else _short(footprint))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PystacClientWarning)
            return self.client.search(**parameters, datetime=period, method=self.method).pages_as_dicts()


def _short(footprint: Geometry) -> Geometry:
    """The footprint, or a shorter area that covers it: the boxes of its parts, or one box."""
    boxes = MultiPolygon([box(*part.bounds) for part in getattr(footprint, "geoms", [footprint])])
    candidates = (footprint, boxes)
    return next((area for area in candidates if len(json.dumps(mapping(area))) <= _MAX_QUERY), box(*footprint.bounds))


def _open(endpoint: str, io: StacApiIO) -> Client:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoConformsTo)
        client = Client.open(endpoint, stac_io=io, timeout=TIMEOUT_S)
    if not client.conforms_to(ConformanceClasses.ITEM_SEARCH):
        raise CatalogError(f"catalog {endpoint} does not declare that it can be searched (conformance item-search)")
    return client


_NO_STAC = (
    pystac.STACError,
    NotImplementedError,
    RecursionError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)
"""Exceptions of the libraries for an answer that is not STAC."""


class _catalog_errors:
    """Turns exceptions of the libraries into a CatalogError of one sentence."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, APIError | requests.RequestException):
            raise CatalogError(f"catalog {self.endpoint} cannot be queried: {_cause(error)}") from error
        if isinstance(error, _NO_STAC):
            raise CatalogError(f"catalog {self.endpoint} answers no STAC: {plain(error)}") from error


_CAUSES = (
    ("NameResolutionError", "its name is not known here: is there a network?"),
    ("Connection refused", "nothing listens there"),
    ("Network is unreachable", "there is no network"),
    ("Connection broken", "its answers break off, despite retries"),
    ("timed out", "it does not answer in time"),
    ("Read timed out", "it does not answer in time"),
    ("ProxyError", "the proxy does not let us through"),
    ("CertificateError", "its certificate is not accepted"),
    ("SSLError", "its certificate is not accepted"),
)


def _status(error: Exception) -> int | None:
    """HTTP status of a refusal; None where there was no answer."""
    return getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)


def _cause(error: Exception) -> str:
    """The cause, without the layers of libraries around it."""
    if status := _status(error):
        return f"HTTP status {status}"
    text = str(error)
    if "too many " in text:
        return f"{plain(text.partition('too many ')[2].split(')')[0].strip(chr(39)), 60)}, despite retries"
    return next((cause for mark, cause in _CAUSES if mark in text), plain(error))
