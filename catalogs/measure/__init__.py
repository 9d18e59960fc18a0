"""Measuring: cloud, cover, radiometric fit and shift of items, cached by digest."""
