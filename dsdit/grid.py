"""The grid: LR and HR pixels of one CRS, related by an integer scale and anchored at the CRS's origin.

A pixel (row, col) has the same global number in every run: row r of pixels of size g covers y from -(r+1) g to -r g,
column c covers x from c g to (c+1) g. The owner of odc-geo in this package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError

from dsdit.errors import RequestError
from dsdit.window import Window


@dataclass(frozen=True)
class Grid:
    """Two GeoBox lattices of one CRS."""

    crs: str
    """Authority code or WKT of a projected CRS in metres."""
    gsd_m: float
    """Size of an HR pixel, in metres of the CRS."""
    scale: int
    """HR pixels per LR pixel, along each axis."""

    def __post_init__(self) -> None:
        try:
            crs = CRS(self.crs)
        except (CRSError, ValueError, TypeError, ArithmeticError) as error:
            raise RequestError(f"crs {self.crs[:200]!r} is not known: use a code such as EPSG:32632") from error
        if not crs.projected:
            raise RequestError(f"crs {self.crs[:200]!r} is not projected: use one in metres, such as EPSG:32632 (UTM)")
        if crs.proj.is_compound or len(crs.proj.axis_info) != 2:
            raise RequestError(f"crs {self.crs[:200]!r} has heights: use its horizontal part alone{_horizontal(crs)}")
        # Not odc-geo's `units`: it finds axes by direction, and both axes of a polar CRS run south or north.
        units = {axis.unit_name for axis in crs.proj.axis_info if axis.unit_conversion_factor != 1}
        if units:
            raise RequestError(f"crs {self.crs!r} is in {units.pop()}: use one in metres")
        if not (isinstance(self.scale, int) and 4 <= self.scale <= 16):
            raise RequestError(f"scale is {self.scale}: it must be an integer from 4 to 16")
        if not 0.05 <= self.gsd_m <= 1000:
            raise RequestError(f"gsd_m is {self.gsd_m}: it must be between 0.05 and 1000 metres")

    @property
    def lr_gsd_m(self) -> float:
        """Size of an LR pixel, in metres of the CRS."""
        return self.gsd_m * self.scale

    @cached_property
    def odc_crs(self) -> CRS:
        """The CRS as an object of odc-geo."""
        return CRS(self.crs)

    @cached_property
    def crs_code(self) -> str | None:
        """The CRS as AUTHORITY:CODE, such as EPSG:32632; None where no code stands for exactly this CRS."""
        authority, code = self.odc_crs.authority
        if not authority or not code:
            return None
        name = f"{authority}:{code}"
        try:
            return name if CRS(name) == self.odc_crs else None
        except CRSError:
            return None

    @property
    def crs_fields(self) -> dict[str, str]:
        """The CRS in the fields of STAC and GeoZarr: `proj:code`, or `proj:wkt2` where it has no code."""
        return {"proj:code": self.crs_code} if self.crs_code else {"proj:wkt2": self.odc_crs.to_wkt()}

    def same_crs(self, wkt: str) -> bool:
        """Whether a CRS is this one; False where it cannot be parsed."""
        try:
            return bool(CRS(wkt) == self.odc_crs)
        except CRSError:
            return False

    def _geobox(self, window: Window, gsd_m: float) -> GeoBox:
        affine = Affine(gsd_m, 0, window.col0 * gsd_m, 0, -gsd_m, -window.row0 * gsd_m)
        return GeoBox(window.shape, affine, self.odc_crs)

    def hr_geobox(self, window: Window) -> GeoBox:
        """GeoBox of a window of HR pixels."""
        return self._geobox(window, self.gsd_m)

    def lr_geobox(self, window: Window, factor: int = 1) -> GeoBox:
        """GeoBox of a window of LR pixels, or of blocks of `factor` x `factor` LR pixels."""
        return self._geobox(window, self.lr_gsd_m * factor)

    def window_of(self, bounds: tuple[float, float, float, float], gsd_m: float) -> Window:
        """Pixels of size `gsd_m` that touch `bounds` (x0, y0, x1, y1 in CRS units)."""
        x0, y0, x1, y1 = bounds
        snap = 1e-6
        return Window(
            math.floor(-y1 / gsd_m + snap),
            math.floor(x0 / gsd_m + snap),
            math.ceil(-y0 / gsd_m - snap),
            math.ceil(x1 / gsd_m - snap),
        )

    def centres_in(self, bounds: tuple[float, float, float, float], gsd_m: float) -> Window:
        """Pixels of size `gsd_m` whose centres are within `bounds` (x0, y0, x1, y1 in CRS units); may be empty."""
        x0, y0, x1, y1 = bounds
        row0, col0 = math.ceil(-y1 / gsd_m - 0.5), math.ceil(x0 / gsd_m - 0.5)
        row1, col1 = math.floor(-y0 / gsd_m - 0.5) + 1, math.floor(x1 / gsd_m - 0.5) + 1
        return Window(row0, col0, max(row0, row1), max(col0, col1))

    def bounds_of(self, window: Window, gsd_m: float) -> tuple[float, float, float, float]:
        """Bounds (x0, y0, x1, y1 in CRS units) of a window of pixels of size `gsd_m`."""
        return window.col0 * gsd_m, -window.row1 * gsd_m, window.col1 * gsd_m, -window.row0 * gsd_m


def _horizontal(crs: CRS) -> str:
    """The horizontal part of a compound CRS, where it has a code."""
    code = next((part.to_authority() for part in crs.proj.sub_crs_list if part.is_projected), None)
    return f": {':'.join(code)}" if code else ""
