"""`open_mosaic`: a published mosaic as an xarray DataTree, from any kind of store, at any version that is kept.

An open tree stays at its version: a later publish changes nothing in it.
"""

from __future__ import annotations

from typing import Any

import xarray as xr

from dsdit.mosaic.versions import mosaic_store


def open_mosaic(output: str, version: int | None = None, **options: Any) -> xr.DataTree:
    """The mosaic of the run at `output` (folder or s3://): levels 0, 1..., and group lr.

    `version` is one of `mosaic_versions`, the newest by default; `options` are those of xarray.open_datatree, such as
    chunks={} for Dask. Raises StoreError where the version is not kept, or nothing is published.
    """
    store = mosaic_store(output).opened(version)
    return xr.open_datatree(store, engine="zarr", consolidated=False, **options)


def mosaic_versions(output: str) -> list[int]:
    """Numbers of the published versions that are kept, oldest first; empty for a plain Zarr on an object store."""
    return mosaic_store(output).versions()
