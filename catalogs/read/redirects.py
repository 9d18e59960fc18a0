"""Where the server of a file would send its reader, asked before GDAL is.

GDAL follows redirects to any host and has no setting against it. So each URL is asked for its first byte once in a
process, without following, and every step must lead to a scheme and host that the source allows. This holds against
an open redirect on an allowed host; an allowed host that answers GDAL otherwise than us is not held by it.
"""

from __future__ import annotations

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
_KEPT = 100_000
_seen: set[tuple[str, tuple[str, ...]]] = set()


def check_redirects(url: str, source: Source) -> None:
    """`url` may carry a signature. Raises CatalogError where it leads to a place that `source` does not allow."""
    if not url.startswith(("https://", "http://")):
        return
    key = (without_query(url), source.hosts)
    if key in _seen:
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
    if len(_seen) < _KEPT:
        _seen.add(key)


def answer_of(url: str) -> int:
    """The status that a URL is answered with, redirects not followed. Raises CatalogError without an answer."""
    with _session() as session, _asked(session, url) as answer:
        return answer.status_code


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=_RETRY))
    return session


def _step(session: requests.Session, url: str) -> str | None:
    """Where one URL sends its reader; None where it answers itself, whatever it answers."""
    with _asked(session, url) as answer:
        location = answer.headers.get("location")
        return urljoin(url, location) if answer.is_redirect and location else None


def _asked(session: requests.Session, url: str) -> requests.Response:
    """The answer to a request for the first byte."""
    try:
        return session.get(url, headers={"Range": "bytes=0-0"}, allow_redirects=False, stream=True, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        raise CatalogError(f"{plain(url, 120)} cannot be reached: {plain(error, 200)}") from error
