"""Checks of hrefs from catalogs: only the schemes, hosts and folders that a source names may be opened.

Hrefs are untrusted. A remote one must be a plain URL of an allowed scheme and host; a local one must be below the
catalog's own folder, symbolic links followed. Checked when an item is accepted and again before it is opened.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from catalogs.source import LOOPBACK, Source
from dsdit.errors import CatalogError

MAX_HREF = 2048
"""Characters of the longest href that is followed."""
_PORTS = {"https": 443, "http": 80}
_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\]")
_QUERY = re.compile(r"\?[^\s'\"]*")


def plain(text: object, limit: int = 300) -> str:
    """Text from outside for a message or log: on one line, without queries (they may hold tokens), cut to `limit`."""
    line = " ".join(_QUERY.sub("", str(text)).split())
    return "".join(c if c.isprintable() else "?" for c in line)[:limit]


def without_query(href: str) -> str:
    """A URL without query and fragment, which may hold tokens; a path as it is."""
    if "://" not in href:
        return href
    parts = _split(href)
    return parts._replace(query="", fragment="").geturl()


def gdal_path(href: str) -> str:
    """The name by which GDAL knows a URL or a path."""
    if "://" not in href:
        return href
    return href.replace("s3://", "/vsis3/", 1) if href.startswith("s3://") else f"/vsicurl/{href}"


def accepted_href(href: str, source: Source) -> str:
    """The href as an item stores it: a URL without query, or a path in the catalog's folder. Raises CatalogError."""
    if not isinstance(href, str) or not href or len(href) > MAX_HREF or _UNPRINTABLE.search(href):
        raise CatalogError(f"href {plain(href, 80)!r} is empty, too long or holds odd characters")
    local = source.is_local and ("://" not in href or href.lower().startswith("file:"))
    if local:
        path = source_file(href, source)
        root = source.root.resolve()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    if _CONTROL.search(href):
        raise CatalogError(f"href {plain(href, 80)!r} is empty, too long or holds odd characters")
    if _split(href).scheme:
        return _accepted_url(href, source)
    raise CatalogError(f"href {plain(href, 80)!r} of a remote item is no URL")


def source_file(href: str, source: Source) -> Path:
    """The file that an href of a local catalog names, links followed; it may not exist. Raises CatalogError.

    The href is a path or a file URL, relative to the catalog's folder or absolute, percent-encoded or not: a file of
    the very name comes first. Outside the catalog's folder only what is below one of the source's `folders` is read.
    """
    plain_href = file_path(href)
    folders = [source.root, *map(Path, source.folders)]
    decoded = unquote(plain_href)
    try:
        path = _below(plain_href, folders)
    except CatalogError:  # encoded, it is not below a folder whose name holds a blank
        return _below(decoded, folders)
    if decoded == plain_href or path.exists():
        return path
    other = _below(decoded, folders)
    return other if other.exists() or href != plain_href else path


def file_path(href: str) -> str:
    """The path in a file URL of this machine, still percent-encoded; a path as it is. Raises CatalogError."""
    if not href.lower().startswith("file:"):
        return href
    parts = _split(href)
    if parts.hostname not in (None, "localhost") or not parts.path.startswith("/"):
        raise CatalogError(f"href {plain(href, 80)!r} names a file of another machine, or no whole path")
    return parts.path


def _below(href: str, folders: list[Path]) -> Path:
    """The path of `local_path` below the first of these folders, or, if absolute, below any."""
    for folder in folders[1:] if href.startswith("/") else ():
        with suppress(CatalogError):
            return local_path(href, folder)
    try:
        return local_path(href, folders[0])
    except CatalogError as error:
        if not href.startswith("/"):
            raise
        raise CatalogError(f"{error}: name the folder in `folders` of the source if its files may be read") from error


def local_path(href: str, root: Path) -> Path:
    """The file that a local href names, links followed. Raises CatalogError unless it is below `root`."""
    root = root.resolve()
    pure = PurePosixPath(href)
    if href.startswith("/vsi") or "/vsi" in href or ".." in pure.parts:
        raise CatalogError(f"href {plain(href, 80)!r} leaves the catalog's folder")
    path = (root / pure).resolve()
    if not path.is_relative_to(root) or path == root:
        raise CatalogError(f"href {plain(href, 80)!r} leaves the catalog's folder")
    return path


def _accepted_url(href: str, source: Source) -> str:
    parts = _split(href)
    host = (parts.hostname or "").lower()
    shown = plain(href, 120)
    if parts.scheme not in source.schemes:
        allowed = ", ".join(source.schemes)
        raise CatalogError(f"href {shown!r} has scheme {parts.scheme!r}: source {source.name} allows {allowed}")
    if parts.username or parts.password:
        raise CatalogError(f"href on {host!r} carries a login")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise CatalogError(f"href {shown!r} is http to another machine")
    if not host_allowed(host, source.hosts):
        allowed = ", ".join(source.hosts) or "none"
        raise CatalogError(f"href {shown!r} is on host {host!r}: source {source.name} allows {allowed}")
    path = unquote(parts.path)
    if ".." in PurePosixPath(path).parts or "/vsi" in path or not path.strip("/"):
        raise CatalogError(f"href {shown!r} has a path that is not followed")
    return parts._replace(query="", fragment="").geturl()


def host_allowed(host: str, hosts: tuple[str, ...]) -> bool:
    """Whether `host` is one of `hosts`, which are exact or `*.domain`."""
    return any(host == h.lower() or (h.startswith("*.") and host.endswith(h[1:].lower())) for h in hosts)


def same_host(url: SplitResult, own: SplitResult) -> bool:
    """Whether a URL is on the host and port of `own`. One of http under an `own` of https is, and must be raised."""
    return url.scheme in _PORTS and (url.hostname, _port(url)) == (own.hostname, _port(own))


def raised(url: SplitResult, own: SplitResult) -> SplitResult:
    """The URL under https where `own` has https: a proxy that ends TLS lets its server write links with http."""
    if (url.scheme, own.scheme) != ("http", "https"):
        return url
    return url._replace(scheme="https", netloc=url.netloc.removesuffix(":80"))


def followed_href(href: str, base: str, own: str) -> str:
    """The URL that a link of the file at `base` leads to. Raises CatalogError unless it is on the host of `own`."""
    if len(href) > MAX_HREF or _CONTROL.search(href):
        raise CatalogError(f"link {plain(href, 80)!r} is too long or holds odd characters: not followed")
    _split(href)
    parts = _split(urljoin(base, href))
    if parts.scheme not in _PORTS or parts.username or parts.password or not same_host(parts, _split(own)):
        raise CatalogError(f"link {plain(href, 80)!r} leads to another host or scheme: not followed")
    return raised(parts, _split(own))._replace(fragment="").geturl()


def _port(parts: SplitResult) -> int | None:
    """The port of a URL; None for its scheme's own, written or not."""
    return None if parts.port == _PORTS.get(parts.scheme) else parts.port


def _split(href: str) -> SplitResult:
    try:
        parts = urlsplit(href)
        _ = parts.port
    except ValueError as error:
        raise CatalogError(f"href {plain(href, 80)!r} is no URL: {plain(error)}") from error
    return parts
