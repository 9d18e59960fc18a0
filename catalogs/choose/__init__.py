"""Choosing: which scenes and references each cell reads, and in which order."""
