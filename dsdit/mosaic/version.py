"""`Version`: a version of a mosaic that was begun and is not published; the kinds of store that hold versions."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["zarr", "icechunk"]
REPOSITORY = "mosaic.icechunk"


class Version(NamedTuple):
    """A version that was begun and not published."""

    name: str
    folder: str
    """Of the files beside the mosaic."""
    mosaic: str
    """Location of the mosaic."""
    fork: bytes = b""
    """What a worker needs to write to a repository, pickled; empty where it writes in place."""
