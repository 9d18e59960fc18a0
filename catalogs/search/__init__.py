"""Search: from a footprint and a period to the items of a STAC catalog, on the web or on disk."""
