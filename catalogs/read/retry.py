"""Retries of failed reads of remote files, with the file reopened.

GDAL itself retries where a server answers 429 or 5xx, or no connection is made, but treats an answer that ends early as
complete. So a read whose bytes did not arrive is repeated. Errors that last are not: a file that does not exist or is
forbidden (4xx), one of another format, a block that arrived and is broken.
"""

from __future__ import annotations

import rasterio
from rasterio.errors import RasterioError

from catalogs.allowed import gdal_path
from catalogs.read.redirects import answer_of

PAUSES_S = (0.5, 2.0)
"""Seconds before a failed read is repeated for the first and for the second time; the third failure is raised."""
_LASTING_STATUS = frozenset(range(400, 500)) - {408, 425, 429}


def may_pass(error: RasterioError, driver: str, url: str) -> bool:
    """Whether a failed read of an open file of `driver` may succeed later. Raises CatalogError without any answer."""
    if "://" not in url or (driver == "GTiff" and "Read error" not in messages_of(error)):
        return False
    return not url.startswith(("https://", "http://")) or answer_of(url) not in _LASTING_STATUS


def uncached(url: str) -> rasterio.Env:
    """GDAL drops its cached bytes of a URL, among them those of a truncated answer, as it closes the file."""
    return rasterio.Env(CPL_VSIL_CURL_NON_CACHED=gdal_path(url))


def messages_of(error: BaseException | None) -> str:
    """Messages of an error and of its causes, one a line."""
    lines = []
    while error is not None:
        lines.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(lines)
