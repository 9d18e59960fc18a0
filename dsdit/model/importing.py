"""Conversion of published weights into a weights folder, without running code from their files.

Three kinds of files can be read: the checkpoints of DS-DiT's authors, {"model": state dict, "args": Namespace};
a bare state dict with the same names, pickle or safetensors; and SD3-medium, from which the paper's training starts:
the x stream, the time MLP, the position table and the final layer are taken, lr and ref are copies of x, and the
patch-level weighting adds nothing before training. Tensors keep the type they have in the file.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from dsdit.errors import WeightsError
from dsdit.model.config import DSDiTConfig
from dsdit.model.header import check_weights
from dsdit.model.tensor_file import Entries, Entry, check_tensors, open_tensors
from dsdit.model.weights import meta_network, write_folder
from dsdit.model.weights_config import CONFIG_FILE, TENSOR_FILE, SensorDefaults, WeightsConfig
from dsdit.plan.sampler_settings import SamplerDefaults

SD3_PREFIX = "model.diffusion_model."
"""Prefix of the network's tensors in an SD3 file."""
HEAD_SIZE = 64
"""Size of an attention head in SD3 and DS-DiT; a file without q/k norm does not show it."""
PUBLISHED_STEPS = 40
"""Euler steps on the published schedule: the paper takes 40 to 50."""
SD3_LICENCE = (
    "Derived from Stable Diffusion 3 Medium: Stability AI Community License, Copyright Stability AI Ltd., "
    "whose terms hold for these weights and for what is derived from them; read them before use."
)
PUBLISHED_NOTES = (
    "RGB display images of 8 bits scaled to [-1, 1]; here reflectance 0 to curve_maximum takes their place. "
    "Latents are those of the SD3 autoencoder. Trained at scales 8 and 16 on crops of 512 px."
)
SD3_NOTES = "A starting point for training: the network has not yet seen lr or ref. " + PUBLISHED_NOTES
_DROPPED = re.compile(r"(y_embedder|context_embedder)\.|joint_blocks\.\d+\.context_block\.")
_BLOCK = re.compile(r"joint_blocks\.(\d+)\.")


@dataclass(frozen=True)
class Imported:
    """Result of an import."""

    config: WeightsConfig
    """Contents of `config.json`."""
    digest: str
    """sha256 of the folder's files."""
    parameters: int
    """Numbers in the file, the position table among them."""
    ignored: dict[str, int]
    """Tensors of the source that were left out: first part of their names -> how many."""


def infer_config(entries: Mapping[str, Entry], source: Path) -> DSDiTConfig:
    """The network whose tensors have these shapes. Raises WeightsError where they fit none."""
    shapes = {name: entry.shape for name, entry in entries.items()}
    embed, table = shapes.get("x_embedder.proj.weight", ()), shapes.get("pos_embed", ())
    numbers = {int(found[1]) for name in shapes if (found := _BLOCK.match(name))}
    if len(embed) != 4 or len(table) != 3 or not numbers:
        raise WeightsError(
            f"{source} holds no DS-DiT or SD3 network: x_embedder.proj.weight {embed}, pos_embed {table}, "
            f"{len(numbers)} joint_blocks; its names begin with {sorted(shapes)[:5]}"
        )
    depth = max(numbers) + 1
    if depth > len(shapes):
        raise WeightsError(f"{source} has {len(shapes)} tensors and a joint_blocks.{depth - 1}: blocks are missing")
    norm = next((shape for name, shape in shapes.items() if name.endswith(".attn.ln_q.weight")), None)
    side = math.isqrt(table[1])
    head = norm[0] if norm else HEAD_SIZE
    if side**2 != table[1] or head < 1 or embed[0] % head:
        raise WeightsError(
            f"{source}: pos_embed has {table[1]} places, which must be a square, and x_embedder {embed[0]} channels, "
            f"which must be a multiple of the head size {head}"
        )
    try:
        return DSDiTConfig(
            depth=depth,
            hidden_size=embed[0],
            num_heads=embed[0] // head,
            patch_size=embed[2],
            in_channels=embed[1],
            pos_embed_max_size=side,
            qk_norm="rms" if norm else None,
        )
    except ValueError as error:
        raise WeightsError(f"{source} describes an impossible network: {error}") from error


def _start(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor of PLW before training; the same for the same name, shape and type."""
    value = torch.zeros(shape, dtype=torch.float32)
    if value.ndim > 1 and "gate.4" not in name and "zero_proj" not in name:
        torch.nn.init.xavier_uniform_(value, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    return value.to(dtype)


def from_sd3(entries: Entries, source: Path) -> Entries:
    """The tensors of an SD3 file under DS-DiT's names, with lr, ref and PLW as training starts them."""
    taken: Entries = {}
    for whole, entry in entries.items():
        name = whole.removeprefix(SD3_PREFIX)
        if name == whole or _DROPPED.match(name):
            continue
        taken[name] = entry
        for stream in ("lr", "ref"):
            copy = re.sub(r"^(joint_blocks\.\d+\.)?x_(embedder|block)\.", rf"\1{stream}_\2.", name)
            if copy != name:
                taken[copy] = entry
    dtype = taken["x_embedder.proj.weight"].dtype if "x_embedder.proj.weight" in taken else None
    for name, value in meta_network(infer_config(taken, source)).state_dict().items():
        if ".weighting." in name:
            shape = tuple(value.shape)
            taken.setdefault(name, Entry(shape, dtype, partial(_start, name, shape, dtype or torch.float32)))
    return taken


def _ignored(entries: Entries) -> dict[str, int]:
    left = [name for name in entries if not name.startswith(SD3_PREFIX)]
    dropped = [found[0] for n in entries if (found := _DROPPED.match(n.removeprefix(SD3_PREFIX))) and n not in left]
    streams = (re.sub(r"joint_blocks\.\d+", "joint_blocks.*", name) for name in dropped)
    return dict(sorted(Counter([*(name.split(".")[0] + "." for name in left), *streams]).items()))


def import_weights(
    source: Path,
    out: Path,
    licence: str | None = None,
    name: str | None = None,
    autoencoder: str | None = None,
) -> Imported:
    """Writes the weights folder `out` from the file `source`. Raises WeightsError.

    `licence` must be given where the file's origin does not imply it; for SD3 it is added to Stability's. `autoencoder`
    is copied into the configuration unchanged.
    """
    existing = [n for n in (CONFIG_FILE, TENSOR_FILE) if (out / n).exists()]
    if existing:
        raise WeightsError(f"{out} holds {existing} already: give another folder")
    entries = open_tensors(source)
    is_sd3 = any(key.startswith(SD3_PREFIX) for key in entries)
    terms = " ".join(part for part in (SD3_LICENCE if is_sd3 else "", (licence or "").strip()) if part)
    if not terms:
        raise WeightsError(f"{source} does not state its licence: give it with --license TEXT")
    tensors = from_sd3(entries, source) if is_sd3 else entries
    network = infer_config(tensors, source)
    check_tensors(tensors, meta_network(network), source)
    defaults = SamplerDefaults(steps=PUBLISHED_STEPS, schedule="published")
    config = WeightsConfig(
        name=name or out.resolve().name,
        network=network,
        kind="published",
        autoencoder=autoencoder,
        tile_px=512,
        sensor=SensorDefaults(scales=(8, 16)),
        sampler=defaults,
        faithful=defaults,
        licence=terms,
        training_data="not stated in the file",
        notes=SD3_NOTES if is_sd3 else PUBLISHED_NOTES,
    )
    write_folder(out, tensors, config)
    return Imported(
        config=config,
        digest=check_weights(out)[1],
        parameters=sum(math.prod(entry.shape) for entry in tensors.values()),
        ignored=_ignored(entries) if is_sd3 else {},
    )
