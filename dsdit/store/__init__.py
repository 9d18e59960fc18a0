"""Objects, tables and sharded Zarr arrays in folders or object stores.

This door is for users; it loads each name from its file when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
