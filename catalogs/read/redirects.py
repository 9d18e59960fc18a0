"""Redirects of a file's URL, checked before GDAL opens it.

GDAL follows redirects to any host and has no setting against it. So the first byte of each URL is requested once in a
process, without following, and every step must lead to a scheme and host that the source allows. This protects against
an open redirect on an allowed host, but not against an allowed host that answers GDAL differently.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from catalogs.allowed import accepted_href, plain, without_query
from catalogs.search.http import TIMEOUT_S
from catalogs.source import Source
from dsdit.errors import CatalogError

MAX_STEPS = 5
"""Redirects in a row that are followed."""
_RETRY = Retry(
    total=4,
    redirect=0,
    backoff_factor=0.5,
    backoff_max=20,
    retry_after_max=30,
    status_forcelist=(429, 500, 502, 503, 504),
    raise_on_redirect=False,
    raise_on_status=False,
)
_MAX_CHECKED = 100_000
_checked: set[tuple[str, tuple[str, ...]]] = set()


def check_redirects(url: str, source: Source) -> None:
    """`url` may carry a signature. Raises CatalogError where it leads to a scheme or host that is not allowed."""
    if not url.startswith(("https://", "http://")):
        return
    key = (without_query(url), source.hosts)
    if key in _checked:
        return
    with _session() as session:
        for _ in range(MAX_STEPS + 1):
            target = _step(session, url)
            if target is None:
                break
            accepted_href(target, source)
            url = target
        else:
            raise CatalogError(f"{plain(key[0], 120)} is redirected more than {MAX_STEPS} times")
    if len(_checked) < _MAX_CHECKED:
        _checked.add(key)


def answer_of(url: str) -> int:
    """HTTP status of a URL, redirects not followed. Raises CatalogError without an answer."""
    with _session() as session, _first_byte(session, url) as answer:
        return answer.status_code


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=_RETRY))
    return session


def _step(session: requests.Session, url: str) -> str | None:
    """The URL to which one URL redirects; None where it is no redirect. CatalogError for a server without ranges."""
    with _first_byte(session, url) as answer:
        location = answer.headers.get("location")
        if answer.status_code == HTTPStatus.OK and answer.headers.get("content-length") not in ("0", "1"):
            raise CatalogError(
                f"{plain(url, 120)} is on a server without byte ranges, which gives whole files alone: download the "
                "file into a local catalog, or serve it from one with ranges"
            )
        return urljoin(url, location) if answer.is_redirect and location else None


def _first_byte(session: requests.Session, url: str) -> requests.Response:
    """The answer to a request for the first byte."""
    try:
        return session.get(url, headers={"Range": "bytes=0-0"}, allow_redirects=False, stream=True, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        raise CatalogError(f"{plain(url, 120)} cannot be reached: {plain(error, 200)}") from error
