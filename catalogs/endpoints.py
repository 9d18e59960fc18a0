"""Where STAC items come from: an API over HTTP, or files on disk. Both are one iterator of pystac Items.

Owner of pystac-client. An API's conformance is looked at before a filter is sent: servers that do not know filters
answer empty, or all. Where it says nothing of filters, and where a filtered question finds nothing, the question goes
out without one and the filter is tried here; the caller is told.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pystac
import requests
from pystac_client import Client
from pystac_client.conformance import ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import NoConformsTo
from shapely import Geometry
from shapely.geometry import mapping
from urllib3 import Retry

from catalogs.filtering import as_json, matches
from catalogs.local import local_items
from catalogs.records import BadItem, read_item
from catalogs.session import RETRY, TIMEOUT_S, OwnHostSession
from catalogs.source import Source
from catalogs.trust import plain
from dsdit.errors import CatalogError

PAGE = 100
"""Items a page."""
MAX_ITEMS = 20_000
"""More in one answer is taken for a mistake."""
MAX_PAGES = 2_000
"""More pages in one answer are taken for a mistake."""
_SAMPLE = 10

Note = Callable[[str], None]


def stac_items(
    source: Source,
    footprint: Geometry | None,
    start: datetime | None,
    end: datetime | None,
    note: Note = lambda text: None,
    retry: Retry = RETRY,
) -> Iterator[pystac.Item | BadItem]:
    """Items of the source's collection and filter; of an API those it says touch footprint and period.

    Without a footprint an API is asked for a few items of anywhere. `note` is told, in a sentence, where the answer
    was not taken as it came. Raises CatalogError.
    """
    found = local_items(source) if source.is_local else _api_items(source, footprint, start, end, note, retry)
    for item in found:
        if isinstance(item, BadItem) or source.where is None or matches(source.where, item.to_dict(False, False)):
            yield item


def _api_items(
    source: Source, footprint: Geometry | None, start: datetime | None, end: datetime | None, note: Note, retry: Retry
) -> Iterator[pystac.Item | BadItem]:
    endpoint = source.endpoint or ""
    question: dict[str, Any] = {"collections": [source.collection or ""], "limit": PAGE, "max_items": MAX_ITEMS + 1}
    if footprint is None:
        question |= {"limit": _SAMPLE, "max_items": _SAMPLE}
    else:
        question |= {"intersects": mapping(footprint), "datetime": (start, end)}
    with _told(endpoint):
        client = _open(endpoint, retry)
        if source.where is not None and not client.conforms_to(ConformanceClasses.FILTER):
            note(f"{endpoint} does not say that it knows filters: {source.where!r} is applied here")
        elif source.where is not None:
            empty = True
            for record in _records(client, {**question, "filter": as_json(source.where)}, endpoint):
                empty = False
                yield read_item(record)
            if not empty:
                return
            note(f"{endpoint} finds nothing with filter {source.where!r}: asked again without it")
        for record in _records(client, question, endpoint):
            yield read_item(record)


def _open(endpoint: str, retry: Retry) -> Client:
    io = StacApiIO()
    io.session = OwnHostSession(endpoint, retry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoConformsTo)
        client = Client.open(endpoint, stac_io=io, timeout=TIMEOUT_S)
    if not client.conforms_to(ConformanceClasses.ITEM_SEARCH):
        raise CatalogError(f"catalog {endpoint} does not say that it can be searched (conformance item-search)")
    return client


def _records(client: Client, question: dict[str, Any], endpoint: str) -> Iterator[Any]:
    """Features of all pages. Raises CatalogError where there are too many, or a page comes twice."""
    count, seen = 0, set()
    for number, page in enumerate(client.search(**question, method="POST").pages_as_dicts()):
        features = page.get("features", ())
        names = tuple(str(f.get("id")) if isinstance(f, dict) else "" for f in features)
        if names in seen or number >= MAX_PAGES:
            raise CatalogError(f"{endpoint} answers the same page again, or more than {MAX_PAGES} pages: given up")
        seen.add(names)
        count += len(features)
        if count > MAX_ITEMS:
            raise CatalogError(f"{endpoint} offers more than {MAX_ITEMS} items: narrow the period")
        yield from features


_NO_STAC = (
    pystac.STACError,
    NotImplementedError,
    RecursionError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)
"""What the libraries raise for an answer that is no STAC."""


class _told:
    """Turns what the libraries raise into one sentence."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, APIError | requests.RequestException):
            raise CatalogError(f"catalog {self.endpoint} cannot be asked: {_cause(error)}") from error
        if isinstance(error, _NO_STAC):
            raise CatalogError(f"catalog {self.endpoint} answers no STAC: {plain(error)}") from error


_CAUSES = (
    ("NameResolutionError", "its name is not known here: is there a network?"),
    ("Connection refused", "nothing listens there"),
    ("Network is unreachable", "there is no network"),
    ("timed out", "it does not answer in time"),
    ("Read timed out", "it does not answer in time"),
    ("ProxyError", "the proxy does not let us through"),
    ("CertificateError", "its certificate is not accepted"),
    ("SSLError", "its certificate is not accepted"),
)


def _cause(error: Exception) -> str:
    """What went wrong, without the layers of libraries around it."""
    status = getattr(error, "status_code", None)
    if status:
        return f"HTTP status {status}"
    text = str(error)
    if "too many " in text:
        return f"{plain(text.partition('too many ')[2].split(')')[0].strip(chr(39)), 60)}, though asked again"
    return next((said for mark, said in _CAUSES if mark in text), plain(error))
