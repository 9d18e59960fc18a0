"""Staging: the pixels of one job, once, on both lattices, as reflectance."""
