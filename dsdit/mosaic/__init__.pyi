from .datatree import mosaic_versions as mosaic_versions
from .datatree import open_mosaic as open_mosaic
from .version import Version as Version
from .versions import mosaic_store as mosaic_store

__all__ = [
    "Version",
    "mosaic_store",
    "mosaic_versions",
    "open_mosaic",
]
