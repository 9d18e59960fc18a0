"""Validation during a run: one sampling step on the middle of some pairs, as metrics and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dsdit.evaluation.metrics import above_nyquist, display, psnr_db, ssim_map
from dsdit.evaluation.pairs import LOW_BAND_PX, Scene, matched_pair, measure_scene, registered
from dsdit.imaging.sensor import EVALUATION_MTF, decimate, high_band, restore, restored_lr
from dsdit.model.config import DSDiTConfig
from dsdit.model.preconditioning import TinyModel
from dsdit.model.weights import meta_network

Array = NDArray[np.float32]
Figures = dict[str, dict[str, float]]
_SHOWN = 8


@dataclass(frozen=True)
class Validation:
    """Square windows of validation pairs, (n, 3, H, H) scaled, with LR (n, 3, H / scale, H / scale)."""

    hr: Array
    """Truth."""
    lr: Array
    """A(HR)."""
    ref: Array
    """Matched reference."""
    scale: int
    """HR pixels per LR pixel."""

    @classmethod
    def cut(cls, scenes: Sequence[Scene], scale: int, size_px: int, count: int = 48) -> Validation | None:
        """The middle `size_px`, a multiple of `scale`, of `count` pairs evenly out of `scenes`.

        Smaller pairs are left out; None where all are.
        """
        unit = math.lcm(scale, LOW_BAND_PX)
        large = [s for s in scenes if min(s.hr.shape[1:]) // unit * unit >= size_px]
        if not large:
            return None
        windows = []
        for scene in [large[i] for i in np.linspace(0, len(large) - 1, min(count, len(large))).astype(int)]:
            pair = np.stack(matched_pair(registered(scene, measure_scene(scene, scale)), scale))
            top, left = ((n - size_px) // 2 for n in pair.shape[-2:])
            windows.append(pair[..., top : top + size_px, left : left + size_px])
        hr, ref = np.stack(windows, axis=1)
        return cls(hr, decimate(hr, scale, EVALUATION_MTF), ref, scale)

    def measure(self, config: DSDiTConfig, tensors: dict[str, torch.Tensor], sheet: Path | None = None) -> Figures:
        """{picture: {psnr, ssim, hb_energy}}, means over the windows, after restoring. Computed where `tensors` are.

        Pictures are R, R with half the reference's detail, one step, and one step without reference. `sheet` is where
        a PNG of the first windows is written: reference, R, one step, truth.
        """
        network = meta_network(config).eval()
        network.load_state_dict(tensors, assign=True)
        model = TinyModel(network)
        restored = restored_lr(self.lr, self.scale, EVALUATION_MTF)
        detail = high_band(self.ref, self.scale, EVALUATION_MTF)
        pictures: dict[str, Array] = {"restored": restored, "injection_half": restored + detail * np.float32(0.5)}
        valid = np.ones((len(self.hr), *self.hr.shape[-2:]), bool)
        with torch.inference_mode():
            conditions = model.conditions(restored, self.ref, valid, detail, self.scale)
            z = torch.zeros(len(self.hr), *model.latent_shape(*self.hr.shape[-2:]), device=model.device)
            for name, given in (("model", conditions), ("no_reference", conditions.without_reference())):
                x0 = model.denoise(z, 1.0, given).x0
                pictures[name] = model.decode(x0.float(), restored).cpu().numpy()
        faithful = {name: restore(p, self.lr, self.scale, EVALUATION_MTF) for name, p in pictures.items()}
        if sheet is not None:
            self._write_sheet(sheet, faithful)
        return {name: self._figures(picture) for name, picture in faithful.items()}

    def _figures(self, pictures: Array) -> dict[str, float]:
        found = []
        for sr, hr in zip(pictures, self.hr, strict=True):
            high, truth = above_nyquist(sr, self.scale), above_nyquist(hr, self.scale)
            similar = ssim_map(display(sr), display(hr)).mean()
            found.append((psnr_db(np.clip(sr, -1, 1), hr), similar, high.var() / max(truth.var(), 1e-12)))
        means = np.mean(found, 0)
        return {name: round(float(v), 3) for name, v in zip(("psnr", "ssim", "hb_energy"), means, strict=True)}

    def _write_sheet(self, path: Path, pictures: dict[str, Array]) -> None:
        columns = (self.ref, pictures["restored"], pictures["model"], self.hr)
        lines = [np.concatenate([display(c[k]) for c in columns], axis=1) for k in range(min(_SHOWN, len(self.hr)))]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(np.concatenate(lines) * 255, np.uint8)).save(path)
