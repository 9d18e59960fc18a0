"""The plan of a run: what was decided before it started, and the files in which it is stored. Names load when used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
