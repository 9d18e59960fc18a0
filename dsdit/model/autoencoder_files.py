"""Where the autoencoder of the published network is stored, and what its configuration states. Loads no torch.

Each kind of storage is one class; `STORAGES` lists them. A new one is a class here that matches its own paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dsdit.errors import WeightsError
from dsdit.model.config_values import read_json, shown

if TYPE_CHECKING:
    from dsdit.model.tensor_file import Entries

MAX_BLOCKS = 8
"""Blocks of an autoencoder at most: each but the first halves the picture's sides."""
TILE_PX = 1024
"""Side of pictures from which the autoencoder works in tiles."""
SD3_PREFIX = "first_stage_model."
"""Prefix of the autoencoder's tensors in an SD3 file."""
FOLDER_FILE = "diffusion_pytorch_model.safetensors"
"""Tensors in a diffusers folder."""
SD3_CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 16,
    "norm_num_groups": 32,
    "sample_size": TILE_PX,
    "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
"""SD3's layout, for a file without a configuration."""


@dataclass(frozen=True)
class CodecShape:
    """How pixels become latents."""

    factor: int
    """Image pixels along one side of a latent pixel."""
    channels: int
    """Channels of a latent."""


class AutoencoderStorage(Protocol):
    """One way to store an autoencoder."""

    def matches(self, path: Path) -> bool:
        """True where `path` is stored this way."""

    def files(self, path: Path) -> list[Path]:
        """All its files, in the order in which the weights' digest covers them."""

    def config(self, path: Path) -> dict[str, Any]:
        """The configuration that diffusers reads. Raises WeightsError."""

    def entries(self, path: Path) -> tuple[Entries, Path]:
        """Tensors under diffusers' names, and the file that holds them. Raises WeightsError; loads torch."""


class DiffusersFolder:
    """A folder with `config.json` and safetensors."""

    def matches(self, path: Path) -> bool:
        """True for folders."""
        return path.is_dir()

    def files(self, path: Path) -> list[Path]:
        """All files of the folder, by name."""
        return sorted(file for file in path.iterdir() if file.is_file())

    def config(self, path: Path) -> dict[str, Any]:
        """`config.json`. Raises WeightsError where it is no JSON object."""
        return read_json(path / "config.json")

    def entries(self, path: Path) -> tuple[Entries, Path]:
        """The tensors as they are stored."""
        from dsdit.model.tensor_file import open_safetensors

        return open_safetensors(path / FOLDER_FILE), path / FOLDER_FILE


class SD3File:
    """A whole SD3 safetensors file; the names of its autoencoder begin with `first_stage_model.`."""

    def matches(self, path: Path) -> bool:
        """True for files."""
        return path.is_file()

    def files(self, path: Path) -> list[Path]:
        """The file itself."""
        return [path]

    def config(self, path: Path) -> dict[str, Any]:
        """SD3's layout: the file has no configuration."""
        return SD3_CONFIG

    def entries(self, path: Path) -> tuple[Entries, Path]:
        """The autoencoder's tensors, renamed by diffusers."""
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        from dsdit.model.tensor_file import Entry, open_safetensors

        found = {name: entry for name, entry in open_safetensors(path).items() if name.startswith(SD3_PREFIX)}
        if not found:
            raise WeightsError(f"{path} holds no tensor {SD3_PREFIX}*: the SD3 file must be one with its autoencoder")
        tensors = convert_ldm_vae_checkpoint({name: entry.read() for name, entry in found.items()}, SD3_CONFIG)
        return {n: Entry(tuple(t.shape), t.dtype, t.detach) for n, t in tensors.items()}, path


STORAGES: tuple[AutoencoderStorage, ...] = (DiffusersFolder(), SD3File())
"""Tried in this order."""


def storage_of(path: Path) -> AutoencoderStorage:
    """The storage that matches `path`. Raises WeightsError where none does."""
    for storage in STORAGES:
        if storage.matches(path):
            return storage
    raise WeightsError(f"{path} holds no autoencoder: give a diffusers folder or an SD3 safetensors file")


def codec_shape(path: Path) -> CodecShape:
    """Factor and channels that the configuration at `path` states. Raises WeightsError where it states none."""
    config = storage_of(path).config(path)
    blocks, channels = config.get("block_out_channels"), config.get("latent_channels")
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= MAX_BLOCKS or not isinstance(channels, int):
        raise WeightsError(
            f"the autoencoder {path} states block_out_channels {shown(blocks)} and latent_channels {shown(channels)}: "
            f"a list of up to {MAX_BLOCKS} and a whole number are needed, as diffusers writes them"
        )
    return CodecShape(2 ** (len(blocks) - 1), channels)


def check_channels(network: int, autoencoder: int) -> None:
    """Raises WeightsError where a network and its autoencoder differ in channels."""
    if network != autoencoder:
        raise WeightsError(
            f"the network has {network} channels and its autoencoder {shown(autoencoder)}: they do not belong together"
        )
