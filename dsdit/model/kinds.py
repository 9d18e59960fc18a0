"""Kinds of models: how a network of a weights folder is checked, sized and built. Loads torch only to build.

A new kind is one class with these methods and its line in `KINDS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dsdit.errors import WeightsError
from dsdit.model.autoencoder_files import CodecShape, check_channels, codec_shape, storage_of
from dsdit.model.config_values import shown
from dsdit.model.weights_config import CONFIG_FILE, WeightsConfig

if TYPE_CHECKING:
    import torch

    from dsdit.model.latent_model import LatentModel
    from dsdit.model.network import DSDiT

BANDS = 3
"""Bands of the pictures that the models here draw."""


class ModelKind(Protocol):
    """What the loading and the planning need to know about one kind of model."""

    def check(self, config: WeightsConfig) -> None:
        """Raises ValueError where the configuration does not suit the kind."""

    def codec_shape(self, folder: Path, config: WeightsConfig) -> CodecShape:
        """How the kind's codec turns pixels into latents. Raises WeightsError."""

    def check_usable(self, folder: Path, config: WeightsConfig) -> None:
        """Raises WeightsError where something is missing that a run needs."""

    def extra_files(self, folder: Path, config: WeightsConfig) -> list[Path]:
        """Files outside the folder that the digest covers too. Raises WeightsError."""

    def build(
        self, network: DSDiT, folder: Path, config: WeightsConfig, device: str | torch.device, dtype: torch.dtype
    ) -> LatentModel:
        """The model around a loaded network. Raises WeightsError."""


class TinyKind:
    """`preconditioning.TinyModel`: works on pixels, needs no autoencoder."""

    def check(self, config: WeightsConfig) -> None:
        """Refuses an autoencoder."""
        if config.autoencoder is not None:
            raise ValueError(f'autoencoder is {config.autoencoder!r}: only weights of kind "published" have one')

    def codec_shape(self, folder: Path, config: WeightsConfig) -> CodecShape:
        """Pixel unshuffle by the stated factor; the network has one more channel for each tap of the kernel."""
        channels = BANDS * config.codec_factor**2
        wanted, found = channels + config.kernel_px**2, config.network.in_channels
        if found != wanted:
            raise WeightsError(f"the network of {folder} has {found} channels, and its codec and kernel need {wanted}")
        return CodecShape(config.codec_factor, channels)

    def check_usable(self, folder: Path, config: WeightsConfig) -> None:
        """Nothing can be missing."""

    def extra_files(self, folder: Path, config: WeightsConfig) -> list[Path]:
        """None."""
        return []

    def build(
        self, network: DSDiT, folder: Path, config: WeightsConfig, device: str | torch.device, dtype: torch.dtype
    ) -> LatentModel:
        """A TinyModel; raises ValueError where the network's channels are not those of its codec."""
        from dsdit.model.autoencoder import PixelCodec
        from dsdit.model.preconditioning import TinyModel

        codec = PixelCodec(config.codec_factor, config.codec_lap_px)
        return TinyModel(network, codec, config.residual_scale, config.kernel_px)


class PublishedKind:
    """`published.PublishedModel`: works on latents of the autoencoder that the configuration names."""

    def check(self, config: WeightsConfig) -> None:
        """An import without autoencoder is written, and refused when it is to be used."""
        named: object = config.autoencoder
        if named is not None and not (isinstance(named, str) and named and "\0" not in named):
            raise ValueError(f"autoencoder is {shown(named)}: it must be null or a path")

    def codec_shape(self, folder: Path, config: WeightsConfig) -> CodecShape:
        """What the autoencoder's configuration states; its channels must be the network's."""
        shape = codec_shape(self._autoencoder(folder, config))
        check_channels(config.network.in_channels, shape.channels)
        return shape

    def check_usable(self, folder: Path, config: WeightsConfig) -> None:
        """The autoencoder must be named and exist."""
        self._autoencoder(folder, config)

    def extra_files(self, folder: Path, config: WeightsConfig) -> list[Path]:
        """The autoencoder's files, where one is named."""
        if config.autoencoder is None:
            return []
        path = self._autoencoder(folder, config)
        return storage_of(path).files(path)

    def build(
        self, network: DSDiT, folder: Path, config: WeightsConfig, device: str | torch.device, dtype: torch.dtype
    ) -> LatentModel:
        """A PublishedModel with its autoencoder loaded."""
        from dsdit.model.published import PublishedModel
        from dsdit.model.sd3_autoencoder import open_autoencoder

        return PublishedModel(network, open_autoencoder(self._autoencoder(folder, config), device, dtype))

    @staticmethod
    def _autoencoder(folder: Path, config: WeightsConfig) -> Path:
        if config.autoencoder is None:
            raise WeightsError(
                f"the network of {folder} works on latents, and {folder / CONFIG_FILE} names no autoencoder: "
                f'set "autoencoder" in it to the SD3 autoencoder, a diffusers folder or an SD3 file on this machine'
            )
        path = folder / config.autoencoder
        named = Path(config.autoencoder)
        if not named.is_absolute() and not path.resolve().is_relative_to(folder.resolve()):
            raise WeightsError(
                f"{folder / CONFIG_FILE} names the autoencoder {config.autoencoder!r}, outside its folder: move it "
                "into the folder, or write its absolute path yourself"
            )
        if not path.exists():
            raise WeightsError(f"{folder / CONFIG_FILE} names the autoencoder {path}, which does not exist")
        return path


KINDS: dict[str, ModelKind] = {"tiny": TinyKind(), "published": PublishedKind()}
"""Kinds by their name in `config.json`."""


def kind_of(config: WeightsConfig) -> ModelKind:
    """The kind that a configuration names, checked. Raises ValueError."""
    if config.kind not in KINDS:
        raise ValueError(f"kind is {config.kind!r}: it must be one of {sorted(KINDS)}")
    kind = KINDS[config.kind]
    kind.check(config)
    return kind
