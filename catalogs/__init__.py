"""Catalogs of scenes: sources, search, choosing, measuring, exact reading, staging. Everything from outside is untrusted."""
