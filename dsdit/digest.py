"""Digests: the sha256 of all that decides a result, so that equal digests mean equal results.

A digest is 32 bytes inside the program and 64 hex digits outside it: in JSON, file names and messages. Many of them are
rows of an array.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Digest = bytes
"""32 bytes."""
Digests = NDArray[np.uint8]
"""(..., 32): one digest a row."""
NO_DIGEST: Digest = bytes(32)
"""Zeros, which no input has."""


def json_digest(record: Any) -> Digest:
    """Of a record in JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).digest()


def text_digests(texts: Iterable[str]) -> Digests:
    """(n, 32) digest of each text."""
    return stack_digests([hashlib.sha256(text.encode()).digest() for text in texts])


def row_digests(rows: NDArray[np.uint8]) -> Digests:
    """(n, width) bytes -> (n, 32) digest of each row."""
    width, content = rows.shape[1], memoryview(np.ascontiguousarray(rows).tobytes())
    sha = hashlib.sha256
    return stack_digests([sha(content[k : k + width]).digest() for k in range(0, len(rows) * width, width)])


def stack_digests(digests: Iterable[Digest]) -> Digests:
    """(n, 32) rows of digests."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def digest_from_hex(text: str) -> Digest:
    """The digest that 64 hex digits spell; `NO_DIGEST` for any other text, whose job is then stale."""
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        return NO_DIGEST
    return digest if len(digest) == 32 else NO_DIGEST
