"""The autoencoder of Stable Diffusion 3, through diffusers (optional: `pip install "dsdit[sd3]"`).

It is read from this machine alone: from a diffusers folder (config.json and safetensors), or out of a whole SD3 file,
whose autoencoder's names begin with `first_stage_model.`. Latents are normalised as SD3 does:
z = (z_raw - 0.0609) * 1.5305. Encoding takes the posterior's mean and draws nothing. Pictures larger than
`TILE_PX` are worked on in diffusers' own tiles, blended in their overlaps, so that memory stays bounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from dsdit.errors import WeightsError
from dsdit.model.autoencoder_files import TILE_PX, storage_of
from dsdit.model.tensor_file import assign_tensors, check_tensors


class SD3Autoencoder:
    """Pictures (B, 3, H, W) in [-1, 1] to normalised latents (B, 16, H / 8, W / 8) and back."""

    def __init__(self, vae: Any) -> None:
        """`vae` is diffusers' AutoencoderKL; its configuration must state scaling and shift."""
        config = vae.config
        if config.scaling_factor is None or config.shift_factor is None:
            raise WeightsError(
                f"the autoencoder states scaling_factor {config.scaling_factor} and shift_factor "
                f"{config.shift_factor}: SD3's states both, 1.5305 and 0.0609"
            )
        self.vae = vae
        self.scaling, self.shift = float(config.scaling_factor), float(config.shift_factor)
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.channels = int(config.latent_channels)
        vae.enable_tiling()
        vae.tile_sample_min_size, vae.tile_latent_min_size = TILE_PX, TILE_PX // self.factor

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return cast(torch.dtype, self.vae.dtype)

    def encode(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 16, H / 8, W / 8), the posterior's mean."""
        mean: Tensor = self.vae.encode(image.to(self.dtype)).latent_dist.mode()
        return (mean - self.shift) * self.scaling

    def decode(self, latent: Tensor) -> Tensor:
        """(B, 16, h, w) -> (B, 3, 8 h, 8 w); values may be a little outside [-1, 1]."""
        return cast(Tensor, self.vae.decode(latent.to(self.dtype) / self.scaling + self.shift).sample)


def open_autoencoder(
    path: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> SD3Autoencoder:
    """A diffusers folder or an SD3 safetensors file on this machine. Raises WeightsError."""
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise WeightsError(f'{path} needs diffusers, which is not installed: pip install "dsdit[sd3]"') from error
    storage = storage_of(path)
    config, (entries, file) = storage.config(path), storage.entries(path)
    try:
        with torch.device("meta"):
            vae: Any = AutoencoderKL.from_config(config)
    except (TypeError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} describes no autoencoder that diffusers knows: {error}") from error
    check_tensors(entries, vae, file)
    assign_tensors(vae, entries, device, dtype)
    return SD3Autoencoder(vae)
