"""The network, its codec, and the folders that hold weights. Names are loaded when they are used, torch with them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
