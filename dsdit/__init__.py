"""DS-DiT: reference-based super-resolution of satellite imagery, tile by tile, job by job.

Nothing heavy is loaded here: nouns, lattice arithmetic and plans are read on schedulers and laptops that have no
torch. `dsdit` knows neither catalogs nor flows.
"""

__version__ = "0.1.0"
