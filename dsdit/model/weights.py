"""A weights folder: `config.json`, which says what the weights are and how to use them, and `model.safetensors`.

Only safetensors are read: a pickle can run any program while it loads, and is refused unopened. Tensors must be
exactly those of the network that the configuration describes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dsdit.errors import WeightsError
from dsdit.model.autoencoder import PixelCodec
from dsdit.model.config import DSDiTConfig
from dsdit.model.network import DSDiT
from dsdit.model.preconditioning import KERNEL_PX, RESIDUAL_SCALE, TinyModel
from dsdit.sensor import EVALUATION_MTF, RESTORE_ITERATIONS

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
class SamplerDefaults:
    """The settings under which the weights were measured."""

    solver: str = "euler"
    """Name of the solver."""
    steps: int = 1
    """Steps; one from pure noise is the posterior mean."""
    guidance_scale: float = 1.0
    """1.0 is one network pass a step."""
    guidance_from: str = "ref_scale"
    """What guidance leads away from; see `plan.SamplerSettings`."""
    start_sigma: float = 1.0
    """Noise level at which sampling starts."""


@dataclass(frozen=True)
class WeightsConfig:
    """What stands in `config.json`."""

    name: str
    """Name of the weights."""
    network: DSDiTConfig
    """Shape of the network."""
    codec_factor: int = 4
    """Factor of PixelCodec."""
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


@dataclass(frozen=True)
class Weights:
    """Loaded weights: a model ready to sample, its configuration and the digest of its files."""

    model: TinyModel
    """The network, in evaluation mode."""
    config: WeightsConfig
    """What `config.json` says."""
    digest: str
    """sha256 of both files, hexadecimal."""


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


def digest(folder: Path) -> str:
    """sha256 over the configuration and the tensor file."""
    total = hashlib.sha256()
    for name in (CONFIG_FILE, TENSOR_FILE):
        with (folder / name).open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; anything else is refused without being opened as a pickle."""
    if path.suffix.lower() in _PICKLES:
        raise WeightsError(f"{path} is a pickle, which can run code as it loads: give a folder with {TENSOR_FILE}")
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise WeightsError(f"{path} does not exist") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error


def check_tensors(tensors: dict[str, torch.Tensor], network: DSDiT, path: Path) -> None:
    """Raises WeightsError with the lists of missing, unknown and misshapen tensors."""
    wanted = network.state_dict()
    missing = sorted(set(wanted) - set(tensors))
    unknown = sorted(set(tensors) - set(wanted))
    shapes = [
        f"{name}: file {tuple(tensors[name].shape)}, network {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if missing or unknown or shapes:
        raise WeightsError(
            f"{path} does not fit its configuration: missing {missing}, unknown {unknown}, other shapes {shapes}"
        )


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


def load_weights(
    name_or_path: str | Path = "dsdit-tiny",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Weights:
    """Weights by shipped name or folder, on `device`, computing in `dtype`. Raises WeightsError."""
    folder = resolve(name_or_path)
    config = read_config(folder)
    tensors = read_tensors(folder / TENSOR_FILE)
    with torch.random.fork_rng(devices=[]):
        network = DSDiT(config.network)
    check_tensors(tensors, network, folder / TENSOR_FILE)
    network.load_state_dict(tensors)
    network = network.to(device=device, dtype=dtype).eval().requires_grad_(False)
    model = TinyModel(
        network, PixelCodec(config.codec_factor, config.codec_lap_px), config.residual_scale, config.kernel_px
    )
    return Weights(model, config, digest(folder))


def save_weights(
    folder: Path, network: DSDiT | dict[str, torch.Tensor], config: WeightsConfig, dtype: torch.dtype = torch.float16
) -> None:
    """Writes a weights folder; tensors are stored as `dtype`, half of float32's size."""
    tensors = network.state_dict() if isinstance(network, DSDiT) else network
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: value.detach().to("cpu", dtype).contiguous() for name, value in tensors.items()}
    partial = folder / (TENSOR_FILE + ".partial")
    save_file(stored, partial)
    (folder / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=2) + "\n", "utf-8")
    partial.chmod(0o644)
    partial.replace(folder / TENSOR_FILE)
