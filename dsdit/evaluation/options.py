"""Options of an evaluation, and the checks that run before any image is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dsdit.errors import RequestError
from dsdit.evaluation.rows import ROWS, nfe_row
from dsdit.plan.sampler_settings import SamplerDefaults
from dsdit.sampling.solver import SOLVERS

SCALES = (2, 16)
"""Least and largest scale, in HR pixels per LR pixel."""
INFLUENCE = "reference_weight"
"""Name that selects, among the rows, the AUCs of `influence`."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated and how."""

    weights: str = "dsdit-tiny"
    """Shipped name or folder."""
    split: str = "val"
    """Split of `pairs/manifest.csv`."""
    scale: int = 8
    """HR pixels per LR pixel."""
    licences: Collection[str] | None = None
    """Licence classes of the pairs; None is all."""
    rows: Collection[str] | None = None
    """Names of rows; None is all."""
    nfe: Collection[int] = ()
    """Numbers of Euler steps; each adds a row."""
    every: int = 1
    """Evaluates each N-th pair only."""
    pictures: Path | None = None
    """Folder for one contact sheet a pair."""
    workers: int = 1
    """Processes that evaluate pairs; figures do not depend on it."""
    sampling: Mapping[str, Any] | None = None
    """Replaces parts of both settings of the weights, by names of `SamplerDefaults`."""
    device: str = "cpu"
    """Device of the network, "cpu" or "cuda"; it computes in float32."""

    def check(self) -> None:
        """Raises RequestError for a scale, row or device that is not known."""
        if not SCALES[0] <= self.scale <= SCALES[1]:
            raise RequestError(f"scale is {self.scale}: it must be between {SCALES[0]} and {SCALES[1]}")
        known = [*ROWS, *map(nfe_row, self.nfe), INFLUENCE]
        unknown = sorted(set(self.rows or ()) - set(known))
        if unknown:
            raise RequestError(
                f"--row {', '.join(unknown)} is not known: use {', '.join(known)}, or model_nfe<N> with --nfe N"
            )
        if self.device != "cpu" and not (self.device == "cuda" and torch.cuda.is_available()):
            raise RequestError(
                f"--device {self.device!r} is not on this machine: use cpu, or cuda where torch finds a GPU"
            )

    def check_setting(self, setting: SamplerDefaults) -> None:
        """Raises RequestError where `sampling` does not suit a setting of the weights."""
        try:
            changed = replace(setting, **(self.sampling or {}))
        except (TypeError, ValueError) as error:
            raise RequestError(f"sampling: {error}") from error
        if changed.solver not in SOLVERS:
            raise RequestError(f"--solver {changed.solver!r} is not known: use one of {', '.join(SOLVERS)}")

    def wants(self, row: str) -> bool:
        """True where a row is to be computed."""
        return self.rows is None or row in self.rows
