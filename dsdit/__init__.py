"""DS-DiT: reference-based super-resolution of satellite imagery, tile by tile, job by job.

Names are loaded when they are used: schedulers and laptops that read regions and plans need no torch and no zarr.
`dsdit` imports neither `catalogs` nor `flows`.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
