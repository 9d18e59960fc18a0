"""Files of tensors, read and written one tensor at a time: memory does not grow with the file.

What a file holds is known before anything of it is read: an `Entry` has shape and type, and reads its tensor on
demand. A tensor on the CPU is the mapped file itself, so that reading takes no memory of its own. The library that
writes safetensors needs all tensors at once; `write_tensors` writes the same bytes one after the other.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from dsdit.errors import WeightsError
from dsdit.model.tensor_header import check_fit

_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""torch's types and safetensors' names for them, in the order in which a file holds them."""
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_JSON, _ZIP, _PICKLE = b"\0\0\0\0{", b"PK\x03\x04", b"\x80"
"""Bytes 4 to 8 of a safetensors file, and the first bytes of the others; a header's length may begin like a pickle."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, not yet read."""

    shape: tuple[int, ...]
    """Its shape."""
    dtype: torch.dtype | None
    """Its type; None is one that no network of ours computes in."""
    read: Callable[[], torch.Tensor]
    """Reads it; on the CPU."""


Entries = dict[str, Entry]


def open_safetensors(path: Path) -> Entries:
    """The tensors of a safetensors file by name. Anything else is refused, unopened, with WeightsError."""
    try:
        # The handle lives on in the entries.
        file: Any = safe_open(path, framework="pt")
        views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {
            name: Entry(tuple(view.get_shape()), _DTYPES.get(view.get_dtype()), partial(file.get_tensor, name))
            for name, view in views.items()
        }
    except FileNotFoundError as error:
        raise WeightsError(f"{path} does not exist") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error


def open_pickle(path: Path) -> Entries:
    """The tensors of a state dict, or of a checkpoint {"model": state dict, ...}, that torch.save wrote.

    torch builds tensors, plain containers and `argparse.Namespace`, and refuses whatever else the file names before
    it is called. Raises WeightsError.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        named = next((line.strip() for line in reason if "GLOBAL" in line), reason[0])
        raise WeightsError(
            f"{path} is refused: it holds more than tensors, plain containers and argparse.Namespace, or is damaged "
            f"({named}). Nothing of it was run; save its state dict alone, as safetensors"
        ) from error
    tensors = found.get("model", found) if isinstance(found, dict) else found
    strangers = (
        [f"{k!r}: {type(v).__name__}" for k, v in tensors.items() if not (isinstance(k, str) and _is_plain(v))]
        if isinstance(tensors, Mapping)
        else [type(tensors).__name__]
    )
    if strangers:
        raise WeightsError(
            f'{path} is neither a state dict nor a checkpoint {{"model": state dict}}: it holds {strangers[:10]}'
        )
    return {k: Entry(tuple(v.shape), v.dtype if v.dtype in _NAMES else None, v.detach) for k, v in tensors.items()}


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized


def open_tensors(path: Path) -> Entries:
    """Safetensors or a pickle of torch.save, distinguished by their first bytes. Raises WeightsError."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if start[4:] == _JSON:
        return open_safetensors(path)
    if start.startswith(_ZIP):
        return open_pickle(path)
    if start.startswith(_PICKLE):
        raise WeightsError(
            f"{path} is a bare pickle, or a checkpoint from before torch 1.6: it is not opened. "
            f"Save it again with a present torch, or as safetensors"
        )
    return open_safetensors(path)


def write_tensors(path: Path, entries: Mapping[str, Entry]) -> None:
    """Writes a safetensors file, holding one tensor at a time; the bytes are those of the safetensors library.

    The format: the header's length (8 bytes, little-endian), the header as JSON with name -> type, shape and range
    of bytes, padded to a multiple of 8, then the tensors, the widest types first so that each begins at a multiple of
    its size. Raises WeightsError where the disk is too small, ValueError for a tensor that is not as announced.
    """
    ranks = {dtype: rank for rank, dtype in enumerate(_NAMES)}
    header: dict[str, Any] = {}
    end = 0
    types: dict[str, torch.dtype] = {name: e.dtype for name, e in entries.items() if e.dtype is not None}
    for name in sorted(entries, key=lambda name: (ranks[types[name]], name)):
        shape, dtype = entries[name].shape, types[name]
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    free = shutil.disk_usage(path.parent).free
    if end > free:
        raise WeightsError(f"{path} takes {end:,} bytes, and {free:,} are free there: choose another disk")
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in header:
            tensor, entry = entries[name].read().detach().cpu(), entries[name]
            if (tuple(tensor.shape), tensor.dtype) != (entry.shape, entry.dtype):
                raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, not {entry.shape} {entry.dtype}")
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def check_tensors(entries: Mapping[str, Entry], network: torch.nn.Module, path: Path) -> None:
    """Raises WeightsError with the lists of missing, unknown, misshapen and not floating-point tensors."""
    found = {
        n: (entry.shape, entry.dtype is not None and entry.dtype.is_floating_point) for n, entry in entries.items()
    }
    check_fit(found, {name: tuple(value.shape) for name, value in network.state_dict().items()}, path)


def assign_tensors(
    network: torch.nn.Module, entries: Mapping[str, Entry], device: str | torch.device, dtype: torch.dtype
) -> None:
    """Gives a network on the meta device its tensors, one at a time, and makes it ready to be evaluated."""
    tensors = {name: entry.read().to(device=device, dtype=dtype) for name, entry in entries.items()}
    network.load_state_dict(tensors, assign=True)
    network.eval().requires_grad_(False)
