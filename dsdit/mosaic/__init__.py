"""The mosaic on disk: its template, versions, lease and history."""
