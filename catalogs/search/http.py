"""HTTP session of one catalog: bound to the catalog's host, with limits on size, time and retries.

Every request, redirects and `next` links included, goes to the endpoint's own host or nowhere, so that neither tokens
nor queries reach another one. Retries and their back-off are urllib3's; a server may request a longer pause with
Retry-After, up to `MAX_PAUSE_S`. A body is counted while it arrives, decompressed, and cut off at `MAX_JSON_BYTES`.
urllib3 retries up to the headers, unless it reads bodies itself, uncounted: so a body that breaks off is retried here.
"""

from __future__ import annotations

import time
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse, Retry
from urllib3.exceptions import HTTPError

from catalogs.allowed import plain, raised, same_host
from dsdit.errors import CatalogError

MAX_JSON_BYTES = 64 * 2**20
"""Largest file of a local catalog, and largest page of an API, that is read."""
MAX_ANSWER_S = 300.0
"""Longest time that one answer may take to come in."""
MAX_PAUSE_S = 60
"""Longest pause that a server may request between two tries."""
TIMEOUT_S = (10.0, 60.0)
"""Wait for a connection, and for each piece of an answer."""
RETRY = Retry(
    total=5,
    backoff_factor=0.5,
    backoff_jitter=0.2,
    backoff_max=MAX_PAUSE_S,
    retry_after_max=MAX_PAUSE_S,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=("GET", "POST"),
    respect_retry_after_header=True,
)


class OwnHostSession(requests.Session):
    """Sends nothing to another host or under a weaker scheme than the endpoint's; requests' redirects come here too."""

    def __init__(self, endpoint: str, retry: Retry) -> None:
        super().__init__()
        self._own, self._retry = urlsplit(endpoint), retry
        for scheme in ("https://", "http://"):
            self.mount(scheme, _BoundedAdapter(max_retries=retry))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Like `requests`; a request whose body breaks off or stalls is repeated, within the limits of `retry`.

        Raises CatalogError where it would leave the endpoint's host, or the answer is too long.
        """
        parts = urlsplit(request.url or "")
        if not same_host(parts, self._own):
            raise CatalogError(
                f"the catalog on {self._own.netloc} sends us to {plain(parts.netloc, 80)!r}: not followed"
            )
        request.url = raised(parts, self._own).geturl()
        retry = self._retry
        while True:
            answer = super().send(request, **{**kwargs, "stream": True})
            try:
                answer._content = answer.content.removeprefix(BOM_UTF8)
                return answer
            except requests.RequestException as error:
                answer.close()
                cause = error.args[0] if error.args and isinstance(error.args[0], HTTPError) else error
                try:
                    retry = retry.increment(request.method, request.url, error=cause)
                except HTTPError as last:
                    raise requests.ConnectionError(last, request=request) from error
                retry.sleep()


class _BoundedAdapter(HTTPAdapter):
    def build_response(self, req: requests.PreparedRequest, resp: HTTPResponse) -> requests.Response:
        response = super().build_response(req, resp)
        response.raw = _Bounded(resp, urlsplit(req.url or "").netloc)
        return response


class _Bounded:
    """A response's body that ends with an error once it is too long or too slow."""

    def __init__(self, body: HTTPResponse, host: str) -> None:
        self._body, self._host = body, host
        self._started, self._bytes = time.monotonic(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def stream(self, amount: int, decode_content: bool | None = None) -> Iterator[bytes]:
        """Pieces of the body, as urllib3 gives them. Raises CatalogError."""
        for piece in self._body.stream(amount, decode_content=decode_content):
            self._count(piece)
            yield piece

    def read(self, *args: Any, **kwargs: Any) -> bytes:
        """One piece of the body. Raises CatalogError."""
        piece = self._body.read(*args, **kwargs)
        self._count(piece)
        return piece

    def _count(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if self._bytes > MAX_JSON_BYTES:
            self._body.close()
            raise CatalogError(f"the catalog on {self._host} answers more than {MAX_JSON_BYTES} bytes at once")
        if time.monotonic() - self._started > MAX_ANSWER_S:
            self._body.close()
            raise CatalogError(f"the catalog on {self._host} takes more than {MAX_ANSWER_S:.0f} s for one answer")
