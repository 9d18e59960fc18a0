"""How far the pixels of a GeoBox are from those of an item's file: what cubic convolution does there depends on it."""

from __future__ import annotations

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.warp import transform as transform_points

from catalogs.item import SceneItem
from catalogs.read.file_grid import FileGrid, crs_of, geometry_of
from catalogs.read.opening import with_file
from catalogs.source import Source
from dsdit.imaging.cubic import ON_PIXELS, Offset

_PROBES = 5
_SAME_PX = 1e-4


def lattice_offsets(item: SceneItem, source: Source, geobox: GeoBox) -> tuple[Offset, ...]:
    """(y, x) of the GeoBox's pixels beside those of the item's first band, in pixels from 0 to 1.

    One offset where it is the same all over, those of 5 x 5 places otherwise. None, `ON_PIXELS`, where the pixels are
    the file's own and where their sizes differ: then the kernel has another width. Raises ReadError.
    """

    def offsets(file: rasterio.DatasetReader) -> tuple[Offset, ...]:
        grid = FileGrid.of(file)
        geometry = geometry_of(grid, geobox)
        if geometry.offset is not None or geometry.ratio != 1.0:
            return ON_PIXELS
        rows, cols = (np.linspace(0, n - 1, _PROBES).round() + 0.5 for n in geobox.shape)
        places = [geobox.affine @ (float(col), float(row)) for row in rows for col in cols]
        xs, ys = transform_points(crs_of(geobox), grid.crs, *zip(*places, strict=True))
        in_file = np.array([~geometry.transform @ place for place in zip(xs, ys, strict=True)])
        x, y = (in_file.T - 0.5) % 1.0
        # On a circle: 0.9999 and 0.0001 are the same place.
        if all(np.abs((axis - axis[0] + 0.5) % 1.0 - 0.5).max() < _SAME_PX for axis in (y, x)):
            x, y = x[:1], y[:1]
        return tuple((round(float(dy), 4) % 1.0, round(float(dx), 4) % 1.0) for dy, dx in zip(y, x, strict=True))

    return with_file(item, source, source.bands[source.band_names[0]].asset, offsets)
