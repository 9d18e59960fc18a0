"""Names, shapes and types of a file's tensors, and whether they fit a network. Reads no tensor, loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dsdit.errors import WeightsError
from dsdit.model.config import TIMESTEP_FREQUENCIES, DSDiTConfig

Shape = tuple[int, ...]
_SHOWN = 12
_FLOATING = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class TensorHeader:
    """One tensor in the header of a safetensors file."""

    shape: Shape
    """Its shape."""
    dtype: str
    """Its type as safetensors names it, such as "F16"."""

    @property
    def floating(self) -> bool:
        """True for floating-point types that a network computes in."""
        return self.dtype in _FLOATING


def read_tensor_headers(path: Path) -> dict[str, TensorHeader]:
    """The header of a safetensors file. Raises WeightsError for any other file."""
    try:
        with safe_open(path, framework="numpy") as opened:
            file: Any = opened
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: TensorHeader(tuple(v.get_shape()), v.get_dtype()) for name, v in views.items()}
    except FileNotFoundError as error:
        raise WeightsError(f"{path} does not exist") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error


def check_fit(found: Mapping[str, tuple[Shape, bool]], wanted: Mapping[str, Shape], path: Path) -> None:
    """`found` is {name: (shape, is floating)}, `wanted` {name: shape}. Raises WeightsError that lists what differs."""
    missing = sorted(set(wanted) - set(found))
    unknown = sorted(set(found) - set(wanted))
    known = [name for name in wanted if name in found]
    shapes = [
        f"{name}: file {found[name][0]}, network {wanted[name]}" for name in known if found[name][0] != wanted[name]
    ]
    types = sorted(name for name in known if not found[name][1])
    if missing or unknown or shapes or types:
        raise WeightsError(
            f"{path} does not fit its configuration: missing {_few(missing)}, unknown {_few(unknown)}, "
            f"other shapes {_few(shapes)}" + (f", not floating-point {_few(types)}" if types else "")
        )


def _few(names: list[str]) -> str:
    """A list as a sentence shows it: its first entries and the number of the others."""
    return str(names) if len(names) <= _SHOWN else f"{names[:_SHOWN]} and {len(names) - _SHOWN} more"


def _linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _block_shapes(prefix: str, config: DSDiTConfig) -> dict[str, Shape]:
    size = config.hidden_size
    shapes: dict[str, Shape] = {}
    for stream in ("x_block", "lr_block", "ref_block"):
        name = f"{prefix}.{stream}"
        shapes |= _linear(f"{name}.attn.qkv", size, 3 * size) | _linear(f"{name}.attn.proj", size, size)
        shapes |= _linear(f"{name}.mlp.fc1", size, 4 * size) | _linear(f"{name}.mlp.fc2", 4 * size, size)
        shapes |= _linear(f"{name}.adaLN_modulation.1", size, 6 * size)
        if config.qk_norm == "rms":
            shapes |= {f"{name}.attn.{norm}.weight": (size // config.num_heads,) for norm in ("ln_q", "ln_k")}
    first = 3 * size // 8
    second = max(first // 8, 1)
    gates = {"gate.0": (3 * size, first), "gate.2": (first, second), "gate.4": (second, 2), "zero_proj": (size, size)}
    for name, (inputs, outputs) in gates.items():
        shapes |= _linear(f"{prefix}.weighting.{name}", inputs, outputs)
    return shapes


def network_shapes(config: DSDiTConfig) -> dict[str, Shape]:
    """{name: shape} of the state dict of `DSDiT(config)`; a test holds the two equal."""
    size, patch, channels = config.hidden_size, config.patch_size, config.in_channels
    shapes: dict[str, Shape] = {"pos_embed": (1, config.pos_embed_max_size**2, size)}
    for stream in ("x", "lr", "ref"):
        shapes[f"{stream}_embedder.proj.weight"] = (size, channels, patch, patch)
        shapes[f"{stream}_embedder.proj.bias"] = (size,)
    shapes |= _linear("t_embedder.mlp.0", TIMESTEP_FREQUENCIES, size) | _linear("t_embedder.mlp.2", size, size)
    for block in range(config.depth):
        shapes |= _block_shapes(f"joint_blocks.{block}", config)
    shapes |= _linear("final_layer.linear", size, patch**2 * channels)
    return shapes | _linear("final_layer.adaLN_modulation.1", size, 2 * size)
