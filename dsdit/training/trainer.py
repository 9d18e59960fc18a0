"""Training steps: loss in bfloat16, running average of the weights, and restarts without loss.

Batches and noise are functions of the step. With `steps` a resumed run repeats an uninterrupted one; with `minutes`
it does not, since the learning rate follows the minutes spent in training, added up over restarts.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dsdit.errors import RequestError, WeightsError
from dsdit.model.preconditioning import TinyModel
from dsdit.model.weights import save_weights
from dsdit.training.building import build_optimizers, build_start, weights_config
from dsdit.training.checkpoint import CHECKPOINT_FILE, State, read_checkpoint, write_checkpoint
from dsdit.training.config import TrainingConfig
from dsdit.training.dataset import Batch
from dsdit.training.processes import Processes, has_bfloat16

BEST_FILE = "best.json"
"""File next to the folder best/: its validation PSNR and its step."""
_SIGMA_FLOOR = 0.05
"""Smallest sigma by which the error of x0 is divided."""
_ENERGY_FLOOR = 0.25
"""Added to a crop's energy before its loss is divided by it: flat crops count, but not without bound."""


def draw_sigmas(config: TrainingConfig, count: int, generator: torch.Generator) -> Tensor:
    """(B,) logit-normal times through the shift, a share of them at 1."""
    u = torch.sigmoid(torch.randn(count, generator=generator))
    sigma = config.time_shift * u / (1 + (config.time_shift - 1) * u)
    at_one = torch.rand(count, generator=generator) < config.sigma_one
    return torch.where(at_one, torch.ones(()), sigma)


def draw_ref_scales(config: TrainingConfig, count: int, generator: torch.Generator) -> Tensor:
    """(B,) ref_scale of each sample: 0 for the share that is dropped, 1 for the others."""
    return (torch.rand(count, generator=generator) >= config.ref_scale_drop).float()


def block_ratio(pictures: Tensor, scale: int) -> Tensor:
    """Mean |difference| across borders of LR pixels over that inside them, of (B, 3, H, W) that begin on a border."""
    on, off = [], []
    for axis in (-2, -1):
        steps = pictures.diff(dim=axis).abs().mean(tuple(k - 4 for k in range(4) if k - 4 != axis))
        border = torch.arange(1, len(steps) + 1, device=steps.device) % scale == 0
        on.append(steps[border])
        off.append(steps[~border])
    return torch.cat(on).mean() / torch.cat(off).mean()


class Trainer:
    """State of one run: network, average, optimiser, step and minutes."""

    def __init__(self, config: TrainingConfig, out: Path, processes: Processes | None = None) -> None:
        self.config, self.out = config, out
        self.processes = processes or Processes()
        self.network = build_start(config).to(self.processes.device)
        self.autocast = config.autocast and has_bfloat16(self.processes.device)
        self.model = TinyModel(self.network)
        if config.compile:
            for block in self.network.joint_blocks:
                block.compile(dynamic=False)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimizers = build_optimizers(self.network, config)
        self.step, self.minutes = 0, 0.0
        out.mkdir(parents=True, exist_ok=True)

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0..1."""
        if self.config.steps is not None:
            return min(1.0, self.step / self.config.steps)
        assert self.config.minutes is not None
        return min(1.0, self.minutes / self.config.minutes)

    def learning_rate(self) -> float:
        """Warm-up by steps, then a cosine over the run down to a hundredth."""
        warm = min(1.0, (self.step + 1) / self.config.warmup_steps)
        return self.config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress)))

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Squared error of the velocity, each crop over its energy, averaged: no picture outweighs another."""
        device = self.model.device
        hr, restored = (torch.as_tensor(part, device=device) for part in (batch.hr, batch.restored))
        x0 = self.model.encode(hr, restored)
        conditions = self.model.conditions(restored, batch.ref, batch.ref_valid, batch.ref_high_band, batch.scale)
        count = x0.shape[0]
        sigma = draw_sigmas(self.config, count, generator).to(device)
        keep = draw_ref_scales(self.config, count, generator).to(device)
        s = sigma[:, None, None, None]
        z = s * torch.randn(x0.shape, generator=generator).to(device) + (1 - s) * x0
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            estimate = self.model.denoise(z, sigma, conditions, keep).x0
        error = ((estimate.float() - x0) / s.clamp_min(_SIGMA_FLOOR)).square().mean((1, 2, 3))
        loss = (error / (x0.square().mean((1, 2, 3)) + _ENERGY_FLOOR)).mean()
        drawn = sigma == 1
        if self.config.block_penalty and drawn.any():
            picture = self.model.decode(estimate.float()[drawn], restored[drawn])
            excess = block_ratio(picture, batch.scale) / block_ratio(hr[drawn], batch.scale) - 1
            loss = loss + self.config.block_penalty * excess.square()
        return loss

    def advance(self, batch: Batch) -> float:
        """One step on this process's `batch`; returns the loss, averaged over the processes.

        Raises RequestError, before anything has changed, where loss or gradient is not finite. Such a step is not
        passed over: bfloat16 has float32's range, so it means a defect or a rate that is too high, and it would come
        again at the same step.
        """
        rate = self.learning_rate()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        number = self.step * self.processes.count + self.processes.rank
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
        loss = self.loss(batch, generator)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average_gradients(self.network.parameters())
        length = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip))
        mean = self.processes.mean(loss)
        if not (math.isfinite(mean) and math.isfinite(length)):
            raise RequestError(
                f"step {self.step + 1}: the loss is {mean} and its gradient {length} long; nothing of this step was "
                f"kept. Lower learning_rate ({self.config.learning_rate}) and go on from {self.out} with --resume"
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        names, values = zip(*self.network.named_parameters(), strict=True)
        get_ema_multi_avg_fn(decay)([self.average[name] for name in names], list(values), None)
        return mean

    def keep_best(self, psnr_db: float) -> bool:
        """Writes the average to `out`/best if `psnr_db` is the highest so far; True where it did.

        The PSNR is stored in `out`/best.json, which is written last.
        """
        record = self.out / BEST_FILE
        known = json.loads(record.read_text("utf-8"))["psnr"] if record.is_file() else -math.inf
        if not psnr_db > known:
            return False
        save_weights(self.out / "best", self.average, weights_config(self.config))
        partial = record.with_suffix(".partial")
        partial.write_text(json.dumps({"psnr": psnr_db, "step": self.step}) + "\n", "utf-8")
        partial.replace(record)
        return True

    def save(self) -> None:
        """Checkpoint for resuming, and the average as a weights folder: at any moment one whole of each is there."""
        optimizers = [optimizer.state_dict()["state"] for optimizer in self.optimizers]
        state = State(self.network.state_dict(), self.average, optimizers, self.step, self.minutes)
        write_checkpoint(self.out / CHECKPOINT_FILE, state)
        save_weights(self.out / "weights", self.average, weights_config(self.config))

    def load(self) -> bool:
        """Continues from the checkpoint in `out`; False where there is none. Raises WeightsError."""
        path = self.out / CHECKPOINT_FILE
        if not path.is_file():
            return False
        state = read_checkpoint(path, self.processes.device)
        if len(state.optimizers) != len(self.optimizers):
            raise WeightsError(f"{path} is of another optimizer than {self.config.optimizer!r}: set it as it was")
        try:
            self.network.load_state_dict(state.network)
        except RuntimeError as error:
            raise WeightsError(f"{path} is of another network than the configuration: {error}") from error
        self.step, self.minutes, self.average = state.step, state.minutes, state.average
        for optimizer, found in zip(self.optimizers, state.optimizers, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": found})
        return True
