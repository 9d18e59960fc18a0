"""What a weights folder states about itself, without its tensors: enough to make a plan. Loads no torch.

A folder holds `config.json` and `model.safetensors`. Only safetensors are read: a pickle can run any program while it
loads, and is refused unopened.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from dsdit.errors import WeightsError
from dsdit.model.config import DSDiTConfig
from dsdit.model.config_values import check_values, read_json, scales_of, shown
from dsdit.model.kinds import kind_of
from dsdit.model.tensor_header import check_fit, network_shapes, read_tensor_headers
from dsdit.model.weights_config import CONFIG_FILE, TENSOR_FILE, SensorDefaults, WeightsConfig
from dsdit.plan.sampler_settings import SamplerDefaults

SHIPPED = Path(__file__).parent.parent / "weights"
"""Folder of the weights that come with the package."""
_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
Record = TypeVar("Record")


@dataclass(frozen=True)
class WeightsHeader:
    """Weights that can be planned with: their tensors fit, and what they need exists."""

    folder: Path
    """Where they are."""
    config: WeightsConfig
    """Contents of `config.json`."""
    token_px: int
    """Image pixels along one side of a token."""
    digest: str
    """sha256 of their files, the autoencoder's among them, hexadecimal; equal to `Weights.digest`."""

    @property
    def name(self) -> str:
        """Name of the weights."""
        return self.config.name

    @property
    def tile_px(self) -> int:
        """Side of the tiles in training."""
        return self.config.tile_px

    @property
    def default(self) -> SamplerDefaults:
        """The weights' default setting."""
        return self.config.sampler

    @property
    def faithful(self) -> SamplerDefaults:
        """The setting with the smallest expected error."""
        return self.config.faithful


def _build(record: type[Record], values: Any, where: str) -> Record:
    """A dataclass from JSON; unknown, missing and impossible values are a WeightsError."""
    if not isinstance(values, dict):
        raise WeightsError(f"{where} is {shown(values)}: it must be an object")
    names = [f.name for f in fields(record)]  # type: ignore[arg-type]  # every record here is a dataclass
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise WeightsError(f"{where} has unknown keys {shown(unknown)}; known are {names}")
    check_values(values, where)
    try:
        return record(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{where} cannot be used: {error}") from error


def read_config(folder: Path) -> WeightsConfig:
    """`config.json` of a weights folder, checked. Raises WeightsError."""
    path = folder / CONFIG_FILE
    values = read_json(path)
    values["network"] = _build(DSDiTConfig, values.get("network"), f"{path}: network")
    sensor = values.get("sensor") or {}
    if isinstance(sensor, dict) and "scales" in sensor:
        sensor = {**sensor, "scales": scales_of(sensor["scales"], f"{path}: sensor")}
    values["sensor"] = _build(SensorDefaults, sensor, f"{path}: sensor")
    for name in ("sampler", "faithful"):
        values[name] = _build(SamplerDefaults, values.get(name) or {}, f"{path}: {name}")
    config = _build(WeightsConfig, values, str(path))
    try:
        kind_of(config)
    except ValueError as error:
        raise WeightsError(f"{path} cannot be used: {error}") from error
    return config


def digest(folder: Path, config: WeightsConfig) -> str:
    """sha256 over the configuration, the tensor file and the files of the autoencoder."""
    total = hashlib.sha256()
    for path in [folder / CONFIG_FILE, folder / TENSOR_FILE, *kind_of(config).extra_files(folder, config)]:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def resolve(name_or_path: str | Path) -> Path:
    """A shipped name ("dsdit-tiny") or a folder -> the folder. Raises WeightsError."""
    path = Path(name_or_path)
    if path.suffix.lower() in _PICKLES:
        raise WeightsError(f"{path} is a pickle, which can run code as it loads: give a folder with {TENSOR_FILE}")
    shipped = SHIPPED / str(name_or_path)
    if len(path.parts) == 1 and not path.is_dir() and shipped.is_dir():
        return shipped
    if not path.is_dir():
        names = sorted(p.name for p in SHIPPED.glob("*") if p.is_dir())
        raise WeightsError(f"no weights folder at {path}, and the shipped weights are {names}")
    return path


def check_weights(name_or_path: str | Path = "dsdit-tiny") -> tuple[WeightsConfig, str]:
    """Configuration and digest of a folder whose tensors fit; its autoencoder may be missing. Raises WeightsError."""
    folder = resolve(name_or_path)
    config = read_config(folder)
    path = folder / TENSOR_FILE
    found = {name: (header.shape, header.floating) for name, header in read_tensor_headers(path).items()}
    check_fit(found, network_shapes(config.network), path)
    return config, digest(folder, config)


def read_header(name_or_path: str | Path = "dsdit-tiny") -> WeightsHeader:
    """Header of weights by shipped name or folder, ready to plan with. Raises WeightsError."""
    folder = resolve(name_or_path)
    factor = kind_of(config := read_config(folder)).codec_shape(folder, config).factor
    _, digest_hex = check_weights(folder)
    return WeightsHeader(folder, config, factor * config.network.patch_size, digest_hex)
