"""Batches prepared while the previous one is trained on: in a thread, or in processes where a GPU is faster."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from dsdit.training.dataset import Batch, CropDataset

_AHEAD = 4
"""Batches that each process prepares in advance."""
Parts = dict[str, Any]


class _Parts(TorchDataset[Parts]):
    """Batches by number, as dictionaries of tensors: these travel through shared memory, and can be pinned."""

    def __init__(self, dataset: CropDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, number: int) -> Parts:
        batch = self._dataset.batch(number)
        parts = {field.name: getattr(batch, field.name) for field in fields(Batch)}
        return {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in parts.items()}


def _in_a_thread(dataset: CropDataset, numbers: Iterable[int]) -> Generator[Batch, None, None]:
    with ThreadPoolExecutor(1) as pool:
        following = None
        for number in numbers:
            ready, following = following, pool.submit(dataset.batch, number)
            if ready is not None:
                yield ready.result()
        if following is not None:
            yield following.result()


def batches_ahead(dataset: CropDataset, numbers: Iterable[int], workers: int) -> Generator[Batch, None, None]:
    """The batches of `numbers`, in their order and the same with any number of `workers`; 0 is one thread."""
    if workers == 0:
        yield from _in_a_thread(dataset, numbers)
        return
    pinned = torch.cuda.is_available()
    loader = DataLoader(
        _Parts(dataset),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        pin_memory=pinned,
        multiprocessing_context="fork",  # the images are shared with the processes, not copied to each
    )
    for parts in loader:
        yield Batch(**parts)
