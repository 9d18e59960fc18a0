"""DS-DiT: reference-based super-resolution of satellite imagery, tile by tile, job by job.

Nothing heavy is loaded here: nouns, lattice arithmetic and plans are read on schedulers and laptops that have no
torch. `dsdit` knows neither catalogs nor flows.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsdit.mosaic.datatree import mosaic_versions, open_mosaic

__all__ = ["mosaic_versions", "open_mosaic"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in __all__:
        from dsdit.mosaic import datatree

        return getattr(datatree, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
