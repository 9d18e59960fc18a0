"""Prefect flows over `catalogs` and `dsdit`: requests, plans and their cost, runs on a cluster, the command `dsdit`.

Names are loaded when they are used: Prefect and Dask with `run_region` alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
