"""Opening of asset files: hrefs checked once more, URLs signed, failed reads repeated where that may help.

Files stay open between reads (catalogs/read/file_pool.py). GDAL's settings are defined here and nowhere else.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import rasterio
from rasterio.errors import CRSError, RasterioError, RasterioIOError, WindowError

from catalogs.allowed import accepted_href, gdal_path, plain, source_file
from catalogs.item import SceneItem
from catalogs.read.file_limits import check_limits, check_pictures, ignore_missing_georeference
from catalogs.read.file_pool import FilePool
from catalogs.read.placement import check_placement
from catalogs.read.redirects import answer_of, check_redirects
from catalogs.read.retry import PAUSES_S, may_pass, messages_of, uncached
from catalogs.read.signing import is_refused, signed
from catalogs.source import Source
from dsdit.errors import CatalogError, ReadError

GDAL_SETTINGS: dict[str, Any] = {
    "GDAL_CACHEMAX": 256 * 2**20,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_NUM_THREADS": "1",
    "GDAL_PAM_ENABLED": "NO",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": "5000000",
}
"""GDAL's settings for every read of this package."""

_REFUSED_HEAD = "HTTP response code: "

T = TypeVar("T")


def gdal_env(source: Source) -> rasterio.Env:
    """GDAL's settings for files of `source`."""
    settings = dict(GDAL_SETTINGS)
    if source.requester_pays:
        settings["AWS_REQUEST_PAYER"] = "requester"
    elif "s3" in source.schemes and source.signing != "aws":
        settings["AWS_NO_SIGN_REQUEST"] = "YES"
    return rasterio.Env(**settings)


def with_file(item: SceneItem, source: Source, asset: str, use: Callable[[rasterio.DatasetReader], T]) -> T:
    """The result of `use` on the open file of an asset; `use` may run more than once, on a file that was reopened.

    It runs once more with a fresh signature where one is refused, and twice more after a pause where bytes are missing
    (catalogs/read/retry.py). Raises ReadError, which names item, asset and cause, for what goes wrong here and in
    `use`, and for a file that is elsewhere than its item (catalogs/read/placement.py).
    """

    def placed(file: rasterio.DatasetReader) -> T:
        check_placement(file, item)
        return use(file)

    refused = None
    with _errors(item, asset), gdal_env(source):
        href = _checked(item, source, asset)
        for pause_s in PAUSES_S:
            try:
                return _used(href, source, placed, refused)
            except _Again as again:
                if again.refused:
                    refused = again.url
                    continue
                time.sleep(pause_s)
                with suppress(RasterioError), uncached(again.url):
                    _open(href, again.url, source).close()
        return _used(href, source, placed, refused, last=True)


class _Again(Exception):
    """A read of `url` failed and may succeed with the file reopened."""

    def __init__(self, url: str, refused: bool) -> None:
        super().__init__()
        self.url = url
        self.refused = refused
        """Whether the server refuses the signature."""


def _used(
    href: str,
    source: Source,
    use: Callable[[rasterio.DatasetReader], T],
    refused: str | None = None,
    last: bool = False,
) -> T:
    """The result of `use` on the file. Raises _Again where another try may help, unless this is the last."""
    url, driver = "" if "://" not in href else signed(href, source, refused), None
    only = None if refused is None else url
    try:
        with _POOL.lend(_key(href, source), lambda: _within_limits(_open(href, url, source)), only) as file:
            url = file.name if url else ""
            driver = file.driver
            return use(file)
    except RasterioError as error:
        if url and not last:
            if refused is None and is_refused(url, source):
                raise _Again(url, refused=True) from error
            if driver is not None and may_pass(error, driver, url):
                raise _Again(url, refused=False) from error
        raise


@contextmanager
def _errors(item: SceneItem, asset: str) -> Iterator[None]:
    try:
        yield
    except (RasterioError, CRSError, WindowError, CatalogError, OSError, ValueError) as error:
        raise ReadError(f"item {plain(item.id, 120)}, asset {plain(asset, 60)}: {plain(_cause(error))}") from error


def _cause(error: BaseException) -> str:
    inner = error.__cause__ or error.__context__
    text = str(error) or type(error).__name__
    return f"{text} ({inner})" if inner is not None and str(inner) and str(inner) not in text else text


def _checked(item: SceneItem, source: Source, asset: str) -> str:
    """The URL of an asset without signature, or the path of its file."""
    if asset not in item.hrefs:
        raise ReadError(f"item {plain(item.id, 120)} has no asset {plain(asset, 60)}")
    href = accepted_href(item.hrefs[asset], source)
    return href if "://" in href else str(source_file(href, source))


def _key(href: str, source: Source) -> Hashable:
    """Pool key: equal for reads that may share an open file; a local file that was rewritten has another one."""
    own = (href, source.drivers, source.hosts, source.schemes, source.signing, source.requester_pays)
    if "://" in href or not Path(href).exists():
        return own
    found = Path(href).stat()
    return (*own, found.st_ino, found.st_size, found.st_mtime_ns)


def _open(href: str, url: str, source: Source) -> rasterio.DatasetReader:
    """The file, if one of the source's drivers can read it: a VRT named .tif is not opened."""
    ignore_missing_georeference()
    if url:
        check_redirects(url, source)
    try:
        return _by_driver(url or href, source)
    except RasterioIOError as error:
        web = url.startswith(("https://", "http://")) and _REFUSED_HEAD in messages_of(error)
        if not web or answer_of(url) != HTTPStatus.PARTIAL_CONTENT:
            raise
    # The server serves ranges and refuses HEAD alone, which GDAL sends first and remembers.
    with rasterio.Env(CPL_VSIL_CURL_USE_HEAD="NO"), uncached(url):
        return _by_driver(url, source)


def _by_driver(name: str, source: Source) -> rasterio.DatasetReader:
    """The file, by the first of the source's drivers that can read it."""
    drivers = list(dict.fromkeys("GTiff" if driver == "COG" else driver for driver in source.drivers))
    for driver in drivers[:-1]:
        try:
            return rasterio.open(name, driver=driver)
        except RasterioIOError:
            continue
    return rasterio.open(name, driver=drivers[-1])


def _within_limits(file: rasterio.DatasetReader) -> rasterio.DatasetReader:
    """The file; closed, with a ValueError, where it is beyond the limits."""
    try:
        check_limits(file)
        if file.driver == "GTiff":
            check_pictures(gdal_path(file.name))
    except BaseException:
        file.close()
        raise
    return file


_POOL = FilePool()
atexit.register(_POOL.close)


def _forget() -> None:
    """In a forked process: the parent's files are neither read nor closed."""
    global _POOL, _parents
    _parents, _POOL = _POOL, FilePool()


_parents: FilePool | None = None
os.register_at_fork(after_in_child=_forget)
