"""The shape of a DS-DiT network: the numbers that fix every tensor of its state dict.

The published network is SD3-medium's: depth 24, hidden 64 * depth, heads = depth, a position table of 192 x 192.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TIMESTEP_FREQUENCIES = 256
"""Sines and cosines that describe a timestep."""
LARGEST = {
    "depth": 128,
    "hidden_size": 16_384,
    "num_heads": 512,
    "patch_size": 64,
    "in_channels": 4096,
    "pos_embed_max_size": 2048,
}
"""Numbers of a network and their largest values, several times those of any that is published."""


@dataclass(frozen=True)
class DSDiTConfig:
    """Numbers of one network; refused with ValueError where they cannot work together."""

    depth: int
    """Number of joint blocks."""
    hidden_size: int
    """Width D of a token."""
    num_heads: int
    """Attention heads; the head size is hidden_size / num_heads."""
    patch_size: int = 2
    """Latent pixels along one side of a token."""
    in_channels: int = 16
    """Latent channels of each of the three streams and of the velocity."""
    pos_embed_max_size: int = 192
    """Tokens along one side of the position table; no input may have more."""
    qk_norm: Literal["rms"] | None = None
    """"rms" normalises queries and keys per head as SD3.5 does; None as SD3 does."""

    def __post_init__(self) -> None:
        for name in LARGEST:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}: it must be a whole number of at least 1")
            if value > LARGEST[name]:
                raise ValueError(f"{name} is {value}: it must be at most {LARGEST[name]}")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        if self.hidden_size % 4:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of 4, as the position table needs")
        if self.qk_norm not in (None, "rms"):
            raise ValueError(f'qk_norm is {self.qk_norm!r}: it must be None or "rms"')
