"""A weights folder: `config.json`, which says what the weights are and how to use them, and `model.safetensors`.

Only safetensors are read: a pickle can run any program while it loads, and is refused unopened. Tensors must be
exactly those of the network that the configuration describes. They are mapped, and take memory of their own only
where they are converted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from dsdit.errors import WeightsError
from dsdit.imaging.sensor import EVALUATION_MTF, RESTORE_ITERATIONS
from dsdit.model.autoencoder import PixelCodec
from dsdit.model.config import DSDiTConfig
from dsdit.model.network import DSDiT
from dsdit.model.preconditioning import KERNEL_PX, RESIDUAL_SCALE, TinyModel
from dsdit.model.published import PublishedModel
from dsdit.model.sd3_autoencoder import open_autoencoder
from dsdit.model.tensor_file import Entry, assign_tensors, check_tensors, open_safetensors, write_tensors
from dsdit.plan.sampler_settings import SamplerDefaults

CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"
SHIPPED = Path(__file__).parent.parent / "weights"
"""Folder of the weights that come with the package."""
_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")


@dataclass(frozen=True)
class SensorDefaults:
    """The sensor that training imitated."""

    mtf_nyquist: float = EVALUATION_MTF
    """MTF at the LR Nyquist frequency around which training drew."""
    restore_iterations: int = RESTORE_ITERATIONS
    """Iterations that made R."""
    scales: tuple[int, ...] = (8,)
    """Scales seen in training."""


@dataclass(frozen=True)
class WeightsConfig:
    """What stands in `config.json`."""

    name: str
    """Name of the weights."""
    network: DSDiTConfig
    """Shape of the network."""
    kind: Literal["tiny", "published"] = "tiny"
    """How it is used: as `preconditioning.TinyModel` or as `published.PublishedModel`."""
    autoencoder: str | None = None
    """For "published": a diffusers folder or an SD3 file on this machine; a relative path starts from this folder."""
    codec_factor: int = 4
    """Factor of PixelCodec, as what follows for "tiny" alone."""
    codec_lap_px: int = 8
    """Side of PixelCodec's lapped blocks."""
    kernel_px: int = KERNEL_PX
    """Side of the kernel over the reference's high band."""
    residual_scale: float = RESIDUAL_SCALE
    """Multiplies HR - R."""
    curve_maximum: float = 0.4
    """Reflectance that becomes +1 (`radiometry.Curve`)."""
    tile_px: int = 128
    """Side of the tiles that training saw."""
    sensor: SensorDefaults = field(default_factory=SensorDefaults)
    """The sensor that training imitated."""
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

    def __post_init__(self) -> None:
        if self.kind not in ("tiny", "published"):
            raise ValueError(f'kind is {self.kind!r}: it must be "tiny" or "published"')
        if self.kind == "tiny" and self.autoencoder is not None:
            raise ValueError(f'autoencoder is {self.autoencoder!r}: only weights of kind "published" have one')


@dataclass(frozen=True)
class Weights:
    """Loaded weights: a model ready to sample, its configuration and the digest of its files."""

    model: TinyModel | PublishedModel
    """The network, in evaluation mode."""
    config: WeightsConfig
    """What `config.json` says."""
    digest: str
    """sha256 of their files, the autoencoder's among them, hexadecimal."""


def _build(kind: type, values: Any, where: str) -> Any:
    """A dataclass from JSON; unknown, missing and impossible values are a WeightsError."""
    if not isinstance(values, dict):
        raise WeightsError(f"{where} is {values!r}: it must be an object")
    unknown = sorted(set(values) - {f.name for f in fields(kind)})
    if unknown:
        raise WeightsError(f"{where} has unknown keys {unknown}; known are {[f.name for f in fields(kind)]}")
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{where} cannot be used: {error}") from error


def read_config(folder: Path) -> WeightsConfig:
    """`config.json` of a weights folder, checked; reads no tensors."""
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds {type(values).__name__}: it must be an object")
    values["network"] = _build(DSDiTConfig, values.get("network"), f"{path}: network")
    sensor = dict(values.get("sensor") or {})
    if "scales" in sensor:
        sensor["scales"] = tuple(sensor["scales"])
    values["sensor"] = _build(SensorDefaults, sensor, f"{path}: sensor")
    for name in ("sampler", "faithful"):
        values[name] = _build(SamplerDefaults, values.get(name) or {}, f"{path}: {name}")
    return _build(WeightsConfig, values, str(path))


def _autoencoder(folder: Path, config: WeightsConfig) -> Path | None:
    if config.autoencoder is None:
        return None
    path = folder / config.autoencoder
    if not path.exists():
        raise WeightsError(f"{folder / CONFIG_FILE} names the autoencoder {path}, and nothing is there")
    return path


def digest(folder: Path, autoencoder: Path | None = None) -> str:
    """sha256 over the configuration, the tensor file and the files of the autoencoder."""
    files = [folder / CONFIG_FILE, folder / TENSOR_FILE]
    if autoencoder is not None:
        files += [autoencoder] if autoencoder.is_file() else sorted(p for p in autoencoder.iterdir() if p.is_file())
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def meta_network(config: DSDiTConfig) -> DSDiT:
    """The network without memory for its tensors; leaves the random state alone."""
    with torch.device("meta"):
        return DSDiT(config)


def resolve(name_or_path: str | Path) -> Path:
    """A shipped name ("dsdit-tiny") or a folder -> the folder."""
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
    """Configuration and digest of weights whose tensors fit; reads no tensor. Raises WeightsError."""
    folder = resolve(name_or_path)
    config = read_config(folder)
    path = folder / TENSOR_FILE
    check_tensors(open_safetensors(path), meta_network(config.network), path)
    return config, digest(folder, _autoencoder(folder, config))


def load_weights(
    name_or_path: str | Path = "dsdit-tiny",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Weights:
    """Weights by shipped name or folder, on `device`, computing in `dtype`. Raises WeightsError."""
    folder = resolve(name_or_path)
    config = read_config(folder)
    autoencoder = _autoencoder(folder, config)
    if config.kind == "published" and autoencoder is None:
        raise WeightsError(
            f"the network of {folder} works on latents, and {folder / CONFIG_FILE} names no autoencoder: "
            f'set "autoencoder" in it to the SD3 autoencoder, a diffusers folder or an SD3 file on this machine'
        )
    entries = open_safetensors(folder / TENSOR_FILE)
    network = meta_network(config.network)
    check_tensors(entries, network, folder / TENSOR_FILE)
    assign_tensors(network, entries, device, dtype)
    model: TinyModel | PublishedModel
    if autoencoder is None:
        codec = PixelCodec(config.codec_factor, config.codec_lap_px)
        model = TinyModel(network, codec, config.residual_scale, config.kernel_px)
    else:
        model = PublishedModel(network, open_autoencoder(autoencoder, device, dtype))
    return Weights(model, config, digest(folder, autoencoder))


def write_folder(folder: Path, entries: Mapping[str, Entry], config: WeightsConfig) -> None:
    """Writes a weights folder, one tensor at a time; both files appear whole, the tensors last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors, settings = (folder / f"{name}.partial" for name in (TENSOR_FILE, CONFIG_FILE))
    try:
        write_tensors(tensors, entries)
        settings.write_text(json.dumps(asdict(config), indent=2) + "\n", "utf-8")
        tensors.chmod(0o644)
        settings.replace(folder / CONFIG_FILE)
        tensors.replace(folder / TENSOR_FILE)
    finally:
        for path in (tensors, settings):
            path.unlink(missing_ok=True)


def save_weights(
    folder: Path, network: DSDiT | dict[str, torch.Tensor], config: WeightsConfig, dtype: torch.dtype = torch.float16
) -> None:
    """Writes a weights folder; tensors are stored as `dtype`, half of float32's size."""
    tensors = network.state_dict() if isinstance(network, DSDiT) else network
    entries = {
        name: Entry(tuple(value.shape), dtype, partial(value.detach().to, "cpu", dtype))
        for name, value in tensors.items()
    }
    write_folder(folder, entries, config)
