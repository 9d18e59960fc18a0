"""Training of the small network that ships with the package. Names are loaded when they are used, torch with them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
