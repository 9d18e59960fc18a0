"""Scenes and references from STAC catalogs: sources, search, measures, choice, exact reading and staging.

Everything a catalog answers is untrusted input. The names below are loaded on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
