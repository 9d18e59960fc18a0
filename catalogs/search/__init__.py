"""Search of STAC catalogs, on the web or on disk: from a footprint and a period to usable scenes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
