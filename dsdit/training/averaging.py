"""The mean of several weights: runs of one network that begin from another's weights lie close enough together."""

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
"""What weights that are averaged may say differently of themselves."""


def _mean(sources: Sequence[Entries], name: str, dtype: torch.dtype) -> torch.Tensor:
    total = sum((entries[name].read().double() for entries in sources), torch.zeros((), dtype=torch.float64))
    return (total / len(sources)).to(dtype)


def mean_weights(folders: Sequence[str | Path], out: Path, name: str | None = None) -> str:
    """Writes the number by number mean of weights to the folder `out`; returns its digest.

    One tensor is in memory at a time. Name (unless given) and stored type are those of the first; `notes` name them
    all. Raises WeightsError for fewer than two, for weights of unlike tensors or configurations (all but name and
    notes must be equal, data and licence too), and where `out` holds weights already.
    """
    places = [resolve(folder) for folder in folders]
    if len(places) < 2:
        raise WeightsError(f"a mean of {[str(p) for p in places]}: give two weights or more")
    if (out / TENSOR_FILE).exists():
        raise WeightsError(f"{out} holds weights already: give another --out")
    config, *others = (read_config(place) for place in places)
    if config.kind != "tiny":
        raise WeightsError(f"{places[0]} is of kind {config.kind!r}: means are made of weights that were trained here")
    for place, other in zip(places[1:], others, strict=True):
        mine, its = asdict(config), asdict(other)
        unlike = {key: (mine[key], its[key]) for key in mine if key not in _OWN and mine[key] != its[key]}
        if unlike:
            shown = "; ".join(f"{key}: {a!r} and {b!r}" for key, (a, b) in unlike.items())
            raise WeightsError(f"{places[0]} and {place} are not alike: {shown}")
    sources = [open_safetensors(place / TENSOR_FILE) for place in places]
    for place, entries in zip(places, sources, strict=True):
        check_tensors(entries, meta_network(config.network), place / TENSOR_FILE)
    together: Entries = {}
    for key, entry in sources[0].items():
        assert entry.dtype is not None
        together[key] = Entry(entry.shape, entry.dtype, partial(_mean, sources, key, entry.dtype))
    digests = " and ".join(check_weights(place)[1][:12] for place in places)
    write_folder(out, together, replace(config, name=name or config.name, notes=f"mean of the weights {digests}"))
    return check_weights(out)[1]
