"""Catalogs of scenes: sources, search, measures, choice, exact reading, staging. Answers are untrusted."""
