"""Settings of a training run, read from YAML: frozen, unknown keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dsdit.errors import RequestError
from dsdit.lattice.tiling import unit_px
from dsdit.yaml_text import read_yaml

TOKEN_PX = 8
"""HR pixels along a token of the networks that are trained here: codec factor 4, patch 2."""
ANY_ORIGIN = "*"
"""Key of `origins` for all pairs whose origin is not named there."""
Weight = Annotated[float, Field(ge=0)]
Scale = Annotated[int, Field(ge=4, le=16)]


def crop_size(scale: int, crop_px: int) -> int:
    """Side of the crops at `scale`: the least multiple of a token and of an LR pixel that is no less than `crop_px`."""
    unit = unit_px(TOKEN_PX, scale)
    return -(-crop_px // unit) * unit


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkConfig(_Frozen):
    """Shape of the network; the channels follow from the codec."""

    depth: int = 4
    hidden_size: int = 192
    num_heads: int = 3
    pos_embed_max_size: int = 64
    qk_norm: Literal["rms"] | None = "rms"


class DataConfig(_Frozen):
    """What a batch is made of. Shares are probabilities; origins are drawn in proportion to their weights."""

    origins: dict[str, Weight] = {"naipca": 0.55, "s2": 0.12, "naipnd": 0.06, "neon2": 0.05, "single": 0.22}
    """Weight of each origin: the id's part before the first "-" in pairs, "single", or "*" for all other pairs."""
    scales: dict[Scale, Weight] = {8: 0.8, 4: 0.06, 10: 0.06, 16: 0.08}
    """Weight of each scale, 4 to 16. Crops grow to whole tokens and LR pixels: to 240 px from 128 at scale 15."""
    wrong_reference: float = Field(default=0.18, ge=0, le=1)
    """Share of crops whose reference is another place's, shifted by 3 to 8 px, or has pasted change."""
    jitter: float = Field(default=0.2, ge=0, le=1)
    """Share of crops whose reference is misregistered by up to 2 px: registration is not perfect."""
    blur: float = Field(default=0.1, ge=0, le=1)
    """Share of crops whose reference is blurred by a Gaussian of 0.5 to 2 px."""
    clouds: float = Field(default=0.08, ge=0, le=1)
    """Share of crops with clouds and their shadows in the reference; half of these are masked as missing."""
    missing_reference: float = Field(default=0.06, ge=0, le=1)
    """Share of crops whose reference is missing, wholly or in part."""
    darkened: float = Field(default=0.5, ge=0, le=1)
    """Share of crops whose brightness is drawn widely: LR scenes are often darker than display images."""

    @model_validator(mode="after")
    def _draws_something(self) -> DataConfig:
        for name, weights in (("origins", self.origins), ("scales", self.scales)):
            if not sum(weights.values()) > 0:
                raise ValueError(f"{name} is {weights}: at least one weight must be above 0")
        return self


class TrainingConfig(_Frozen):
    """One training run."""

    name: str = "dsdit-tiny"
    network: NetworkConfig = NetworkConfig()
    start: str | None = None
    """Weights to begin from (a shipped name or a folder); None draws starting weights from `seed`.

    Weights of fewer blocks are grown: the blocks that are new, evenly among theirs, change nothing at first.
    """
    data: DataConfig = DataConfig()
    seed: int = Field(0, ge=0, lt=2**63)
    batch: int = Field(16, ge=1)
    """Crops of `crop_px` a step; larger ones take as many as have the same area."""
    crop_px: int = Field(128, ge=32)
    """Least side of a crop, in HR pixels."""
    workers: int = Field(0, ge=0)
    """Processes that make batches, for a GPU: about its machine's cores. 0 is a thread, which keeps pace with a CPU."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon turns the matrices of the blocks by orthogonalised momentum and leaves the rest to AdamW."""
    learning_rate: float = Field(6e-4, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    warmup_steps: int = Field(40, ge=1)
    steps: int | None = Field(None, ge=1)
    """Length of the run in steps, or None where `minutes` is given. A resumed run then equals an unbroken one."""
    minutes: float | None = Field(None, gt=0)
    """Length of the run in minutes of training, resumed parts added up; the rate then follows the machine's speed."""
    sigma_one: float = Field(0.55, ge=0, le=1)
    """Share of samples at sigma 1, the start of every sampling and the whole of one-step sampling."""
    time_shift: float = Field(3.0, gt=0)
    ref_scale_drop: float = Field(0.1, ge=0, le=1)
    """Share of samples with ref_scale 0, which the weak pass of guidance needs."""
    block_penalty: float = Field(0.0, ge=0)
    """Weight of (blocks / the truth's blocks - 1)^2 in the loss; the smallest error alone shows LR's lattice."""
    gradient_clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    autocast: bool = True
    """bfloat16 in the network, on a device that computes in it; float32 on others."""
    compile: bool = False
    """torch.compile of the blocks: a minute at the start (needs g++), then a sixth faster on a CPU."""
    checkpoint_minutes: float = Field(3.0, gt=0)
    validation_minutes: float = Field(6.0, gt=0)
    guidance_scale: float = Field(1.6, ge=0)
    """Of the weights' default setting, away from the tile without its reference."""
    licence: str = "Apache-2.0"
    training_data: str = ""

    @model_validator(mode="after")
    def _has_an_end(self) -> TrainingConfig:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give exactly one of steps and minutes")
        return self

    @model_validator(mode="after")
    def _crops_fit_the_network(self) -> TrainingConfig:
        largest, side = max((crop_size(scale, self.crop_px), scale) for scale in self.data.scales)
        if largest > TOKEN_PX * self.network.pos_embed_max_size:
            raise ValueError(
                f"crops at scale {side} are {largest} px, {largest // TOKEN_PX} tokens: pos_embed_max_size is "
                f"{self.network.pos_embed_max_size}; raise it, lower crop_px or leave out the scale"
            )
        return self


def read_training_config(path: Path, minutes: float | None = None) -> TrainingConfig:
    """A YAML file -> TrainingConfig; `minutes` replaces the file's length. Raises RequestError."""
    try:
        values = read_yaml(path) or {}
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise RequestError(f"{path} holds {type(values).__name__}: it must be a table of settings")
    if minutes is not None:
        values = {**values, "minutes": minutes, "steps": None}
    try:
        return TrainingConfig(**values)
    except ValidationError as error:
        raise RequestError(f"{path}: {error}") from error
