"""Contents of `config.json` in a weights folder: what the weights are and how to use them. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from dsdit.imaging.sensor import EVALUATION_MTF, RESTORE_ITERATIONS
from dsdit.model.config import DSDiTConfig
from dsdit.plan.sampler_settings import SamplerDefaults

CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"
KERNEL_PX = 5
"""Side of the kernel that is applied to the reference's high band."""
RESIDUAL_SCALE = 16.0
"""Scaled units of x0 per scaled unit of HR - R."""


@dataclass(frozen=True)
class SensorDefaults:
    """The sensor that training simulated."""

    mtf_nyquist: float = EVALUATION_MTF
    """MTF at the LR Nyquist frequency around which training varied it."""
    restore_iterations: int = RESTORE_ITERATIONS
    """Iterations of restoring that compute R."""
    scales: tuple[int, ...] = (8,)
    """Scales used in training."""


@dataclass(frozen=True)
class WeightsConfig:
    """Contents of `config.json`."""

    name: str
    """Name of the weights."""
    network: DSDiTConfig
    """Shape of the network."""
    kind: str = "tiny"
    """How the network is used: a name of `kinds.KINDS`."""
    autoencoder: str | None = None
    """For "published": a diffusers folder or an SD3 file on this machine; a relative path starts from this folder."""
    codec_factor: int = 4
    """Factor of PixelCodec; this and the next three are read by kind "tiny" only."""
    codec_lap_px: int = 8
    """Side of PixelCodec's lapped blocks."""
    kernel_px: int = KERNEL_PX
    """Side of the kernel over the reference's high band."""
    residual_scale: float = RESIDUAL_SCALE
    """Multiplies HR - R."""
    curve_maximum: float = 0.4
    """Reflectance that becomes +1 (`radiometry.Curve`)."""
    tile_px: int = 128
    """Side of the tiles in training."""
    sensor: SensorDefaults = field(default_factory=SensorDefaults)
    """The sensor that training simulated."""
    sampler: SamplerDefaults = field(default_factory=SamplerDefaults)
    """Default sampling."""
    faithful: SamplerDefaults = field(default_factory=SamplerDefaults)
    """Sampling that aims at the posterior mean: the smallest expected error."""
    licence: str = ""
    """Licence of the weights."""
    training_data: str = ""
    """What they were trained on, and under which licences."""
    notes: str = ""
    """What else a user should know."""
