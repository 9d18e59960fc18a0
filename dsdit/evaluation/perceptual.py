"""LPIPS (Zhang et al. 2018) where it can be had: the package (extra `quality`) and AlexNet's weights on this machine.

The weights are torchvision's, in torch's hub cache; nothing is downloaded here, and they are read without running code.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float32]
WEIGHTS_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
"""Where AlexNet's weights come from."""


def weights_file() -> Path:
    """Where AlexNet's weights are looked for."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_URL.rpartition("/")[2]


@lru_cache(maxsize=1)
def open_lpips(file: Path) -> Any | None:
    """The metric with the trunk's weights out of `file`; None where the file or the package is missing."""
    if not file.is_file():
        return None
    try:
        import lpips
    except (ImportError, RuntimeError):  # RuntimeError: a torchvision built for another torch
        return None
    metric = lpips.LPIPS(net="alex", pnet_rand=True, spatial=True, verbose=False)
    state = torch.load(file, map_location="cpu", weights_only=True)
    for name, layer in metric.net.named_modules():
        if next(layer.parameters(recurse=False), None) is not None:
            place = f"features.{name.rpartition('.')[2]}"
            layer.load_state_dict({part: state[f"{place}.{part}"] for part in ("weight", "bias")})
    return metric.eval()


def lpips_note() -> str | None:
    """How to get what is missing, in a sentence; None where nothing is."""
    file = weights_file()
    if open_lpips(file) is not None:
        return None
    return f"lpips is left out: it needs pip install 'dsdit[quality]' and {WEIGHTS_URL} as {file}"


def lpips_map(sr: Array, hr: Array) -> Array | None:
    """(H, W, 3) in [0, 1] twice -> (H, W) perceptual distance, its layers upsampled; None where it cannot be had."""
    metric = open_lpips(weights_file())
    if metric is None:
        return None
    with torch.inference_mode():
        pictures = (torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1)))[None] for p in (sr, hr))
        return np.asarray(metric(*pictures, normalize=True)[0, 0].numpy(), np.float32)
