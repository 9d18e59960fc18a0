"""Measures of items and pairs: cover, cloud, radiometric fit and shift, cached by digest."""
