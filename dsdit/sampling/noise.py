"""Noise as a function of position: the same latent pixel of the world always gets the same numbers.

The plane of latent pixels is cut into fixed blocks of 64 x 64, and each block has its own stream of numpy's Philox,
a counter-based generator: the key is the seed, the counter's upper integers are the block's row and column, shifted by
2^31 so that negative ones count too. It does not depend on tiles, jobs and workers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
"""Side of a block in latent pixels; apart from every tile size."""
_SHIFT = 2**31


def block_noise(seed: int, row: int, col: int, channels: int, block: int = BLOCK) -> NDArray[np.float32]:
    """Standard normal noise (channels, block, block) of the block at signed (row, col).

    Fewer channels are the first ones of more. Raises ValueError where a number is out of range.
    """
    if not 0 <= seed < 2**128:
        raise ValueError(f"seed is {seed}: it must be between 0 and 2^128 - 1")
    if not (-_SHIFT <= row < _SHIFT and -_SHIFT <= col < _SHIFT):
        raise ValueError(f"block ({row}, {col}) is beyond 2^31 blocks from the origin")
    stream = np.random.Philox(key=seed, counter=[0, 0, row + _SHIFT, col + _SHIFT])
    return np.random.Generator(stream).standard_normal((channels, block, block), np.float32)


@lru_cache(maxsize=32)
def _cached_noise(seed: int, row: int, col: int, channels: int) -> NDArray[np.float32]:
    """A block that the next tiles need too. The cache holds those of two rows of a job: 25 MB of 48 channels."""
    return block_noise(seed, row, col, channels)


def noise_window(seed: int, row0: int, col0: int, height: int, width: int, channels: int) -> NDArray[np.float32]:
    """Noise (channels, height, width) of the latent pixels from global signed (row0, col0) on."""
    out = np.empty((channels, height, width), np.float32)
    for block_row in range(row0 // BLOCK, (row0 + height - 1) // BLOCK + 1):
        top = max(row0, block_row * BLOCK)
        bottom = min(row0 + height, (block_row + 1) * BLOCK)
        for block_col in range(col0 // BLOCK, (col0 + width - 1) // BLOCK + 1):
            left = max(col0, block_col * BLOCK)
            right = min(col0 + width, (block_col + 1) * BLOCK)
            noise = _cached_noise(seed, block_row, block_col, channels)
            out[:, top - row0 : bottom - row0, left - col0 : right - col0] = noise[
                :,
                top - block_row * BLOCK : bottom - block_row * BLOCK,
                left - block_col * BLOCK : right - block_col * BLOCK,
            ]
    return out
