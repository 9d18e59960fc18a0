"""Which failed reads of remote files are repeated, with the file opened anew.

GDAL itself asks again where a server answers 429 or 5xx, or no connection comes about; an answer that ends early it
takes for the end. So a read whose bytes did not arrive is repeated. What no patience mends is not: a file that is not
there or not ours to read (4xx), one of another format, a block that arrived and is broken.
"""

from __future__ import annotations

import rasterio
from rasterio.errors import RasterioError

from catalogs.allowed import gdal_path
from catalogs.read.redirects import answer_of

PAUSES_S = (0.5, 2.0)
"""Seconds before a failed read is repeated for the first and for the second time; the third failure is told."""
_ANSWERS_THAT_STAY = frozenset(range(400, 500)) - {408, 425, 429}


def may_pass(error: RasterioError, driver: str, url: str) -> bool:
    """Whether a read of an open file of `driver` failed for a moment only. Raises CatalogError without any answer."""
    if "://" not in url or (driver == "GTiff" and "Read error" not in told(error)):
        return False
    return not url.startswith(("https://", "http://")) or answer_of(url) not in _ANSWERS_THAT_STAY


def uncached(url: str) -> rasterio.Env:
    """GDAL forgets the bytes it has of a URL, among them those of an answer that ended early, as it closes the file."""
    return rasterio.Env(CPL_VSIL_CURL_NON_CACHED=gdal_path(url))


def told(error: BaseException | None) -> str:
    """What an error says, and those behind it."""
    lines = []
    while error is not None:
        lines.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(lines)
