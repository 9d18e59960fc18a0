"""The mean of several weights: runs that start from the same weights stay close enough to be averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from dsdit.errors import WeightsError
from dsdit.model.header import check_weights, read_config, resolve
from dsdit.model.tensor_file import Entries, Entry, check_tensors, open_safetensors
from dsdit.model.weights import meta_network, write_folder
from dsdit.model.weights_config import TENSOR_FILE

_OWN = ("name", "notes")
"""Keys of the configuration in which averaged weights may differ."""


def _mean(sources: Sequence[Entries], name: str, dtype: torch.dtype) -> torch.Tensor:
    total = sum((entries[name].read().double() for entries in sources), torch.zeros((), dtype=torch.float64))
    return (total / len(sources)).to(dtype)


def mean_weights(folders: Sequence[str | Path], out: Path, name: str | None = None) -> str:
    """Writes the number by number mean of weights to the folder `out`; returns its digest.

    One tensor is in memory at a time. Name (unless given) and stored type are those of the first; `notes` name them
    all. Raises WeightsError for fewer than two, for weights of unlike tensors or configurations (all but name and
    notes must be equal, data and licence too), and where `out` holds weights already.
    """
    paths = [resolve(folder) for folder in folders]
    if len(paths) < 2:
        raise WeightsError(f"a mean of {[str(p) for p in paths]}: give two weights or more")
    if (out / TENSOR_FILE).exists():
        raise WeightsError(f"{out} holds weights already: give another --out")
    config, *others = (read_config(path) for path in paths)
    if config.kind != "tiny":
        raise WeightsError(f"{paths[0]} is of kind {config.kind!r}: means are made of weights that were trained here")
    for path, other in zip(paths[1:], others, strict=True):
        mine, its = asdict(config), asdict(other)
        unlike = {key: (mine[key], its[key]) for key in mine if key not in _OWN and mine[key] != its[key]}
        if unlike:
            shown = "; ".join(f"{key}: {a!r} and {b!r}" for key, (a, b) in unlike.items())
            raise WeightsError(f"{paths[0]} and {path} are not alike: {shown}")
    sources = [open_safetensors(path / TENSOR_FILE) for path in paths]
    for path, entries in zip(paths, sources, strict=True):
        check_tensors(entries, meta_network(config.network), path / TENSOR_FILE)
    together: Entries = {}
    for key, entry in sources[0].items():
        assert entry.dtype is not None
        together[key] = Entry(entry.shape, entry.dtype, partial(_mean, sources, key, entry.dtype))
    digests = " and ".join(check_weights(path)[1][:12] for path in paths)
    write_folder(out, together, replace(config, name=name or config.name, notes=f"mean of the weights {digests}"))
    return check_weights(out)[1]
