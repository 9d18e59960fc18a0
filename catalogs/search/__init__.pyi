from .usable_scenes import SearchResult as SearchResult
from .usable_scenes import search as search
from .usable_scenes import search_items as search_items

__all__ = ["SearchResult", "search", "search_items"]
