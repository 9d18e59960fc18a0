"""Signatures of URLs as a source requires them: created before a file is opened, renewed when one is refused."""

from __future__ import annotations

import threading

from catalogs.read.redirects import answer_of
from catalogs.source import Source

_REFUSALS = (401, 403)
_renewing = threading.Lock()


def signed(href: str, source: Source, refused: str | None = None) -> str:
    """The URL that is opened for `href`. Tokens are cached until they expire, or until `refused` was signed by one.

    Raises OSError where the token server cannot be reached.
    """
    if source.signing != "planetary-computer":
        return href
    import planetary_computer
    from planetary_computer.sas import TOKEN_CACHE

    if refused is None:
        return str(planetary_computer.sign_url(href))
    with _renewing:
        url = str(planetary_computer.sign_url(href))
        if url == refused:
            TOKEN_CACHE.clear()
            url = str(planetary_computer.sign_url(href))
    return url


def is_refused(url: str, source: Source) -> bool:
    """Whether the server of a signed URL refuses it now (401 or 403). Raises CatalogError where it does not answer."""
    return source.signing == "planetary-computer" and answer_of(url) in _REFUSALS
