from .item import SceneItem as SceneItem
from .lazy_stack import stack as stack
from .search.usable_scenes import search_items as search_items
from .source import Source as Source
from .source import known_sources as known_sources
from .source import load_source as load_source

__all__ = ["SceneItem", "Source", "known_sources", "load_source", "search_items", "stack"]
