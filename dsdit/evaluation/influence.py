"""Does the reference's influence detect changed ground? Candidates for the output `reference_weight`, and their AUC.

`plw` is the patch-level weighting's share of the reference, averaged over the blocks; `guidance` the difference between
the strong and the weak pass of autoguidance; `guidance_share` that difference over the reference's high band. Each is
high where the reference has much influence. The network gets the reference registered by the shift estimated from LR,
as in the flow; the kind of a block comes from the unregistered dates. A 64 px block is changed where the dates' middle
bands disagree (`change`), or where their high bands disagree though the middle bands do not (`misregistration`:
shifted, other view, other season). The AUC is the probability that an unchanged block has more influence than a changed
one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from dsdit.evaluation.case import BLOCK_PX, Case
from dsdit.evaluation.metrics import above_nyquist, correlation
from dsdit.lattice.tiling import default_tile
from dsdit.model.weights import Weights

Array = NDArray[np.float32]
Blocks = dict[tuple[str, str], list[float]]
"""(candidate, kind of block) -> mean over each block; kinds are good, change, misregistration."""
FAITHFUL_DETAIL = 0.3
"""Correlation of the dates' high bands below which an unchanged block counts as misregistered."""


def influence_maps(weights: Weights, case: Case) -> dict[str, Array]:
    """{candidate: (H, W)} from one strong and one weak pass at sigma 1, on tiles side by side; NaN beyond them."""
    model, scale = weights.model, case.scale
    tile, _ = default_tile(model.token_px, scale)
    height, width = case.hr.shape[1:]
    names = ("plw", "guidance", "guidance_share")
    maps = {name: np.full((height, width), np.nan, np.float32) for name in names}
    pictures = (case.restored, case.registered, case.moved_detail)
    for row in range(0, height - tile + 1, tile):
        for col in range(0, width - tile + 1, tile):
            at = (slice(row, row + tile), slice(col, col + tile))
            cuts = [picture[(None, slice(None), *at)] for picture in pictures]
            with torch.inference_mode():
                given = model.conditions(cuts[0], cuts[1], np.ones((1, tile, tile), bool), cuts[2], scale)
                z = torch.zeros(1, *model.latent_shape(tile, tile), device=model.device, dtype=model.dtype)
                strong, weak = (model.denoise(z, 1.0, given, s) for s in (1.0, 0.0))
                with_it, without = (model.decode(passed.x0, cuts[0]).float().cpu() for passed in (strong, weak))
                difference = (with_it - without).numpy()[0]
                plw = strong.weighting[0].float().cpu().numpy()
            side = tile // plw.shape[0]
            maps["plw"][at] = np.repeat(np.repeat(plw, side, 0), side, 1)
            guidance, detail = np.abs(difference).mean(0), np.abs(cuts[2][0]).mean(0)
            maps["guidance"][at] = guidance
            # The constant keeps the ratio finite where the reference has no detail.
            maps["guidance_share"][at] = _tokens(guidance, side) / (_tokens(detail, side) + 1e-3)
    return maps


def _tokens(values: Array, side: int) -> Array:
    """Means of side x side blocks, spread over them again."""
    h, w = (n // side for n in values.shape)
    means = values.reshape(h, side, w, side).mean((1, 3))
    return np.repeat(np.repeat(means, side, 0), side, 1)


def influence_blocks(weights: Weights, case: Case) -> Blocks:
    """The blocks of one pair by kind, with the mean of each candidate over each block."""
    blocks: Blocks = defaultdict(list)
    maps = influence_maps(weights, case)
    high, other = above_nyquist(case.hr, case.scale), above_nyquist(case.ref, case.scale)
    height, width = case.hr.shape[1:]
    for row in range(0, height - BLOCK_PX + 1, BLOCK_PX):
        for col in range(0, width - BLOCK_PX + 1, BLOCK_PX):
            at = (slice(row, row + BLOCK_PX), slice(col, col + BLOCK_PX))
            cut = (slice(None), *at)
            kind = "good"
            if case.changed[at].mean() > 0.5:
                kind = "change"
            elif correlation(high[cut], other[cut]) < FAITHFUL_DETAIL:
                kind = "misregistration"
            for name, values in maps.items():
                if np.isfinite(values[at]).all():
                    blocks[name, kind].append(float(values[at].mean()))
    return dict(blocks)


def joined(parts: Iterable[Blocks]) -> Blocks:
    """The blocks of many pairs together."""
    blocks: Blocks = defaultdict(list)
    for part in parts:
        for key, values in part.items():
            blocks[key] += values
    return dict(blocks)


def auc(blocks: Blocks) -> dict[str, dict[str, float]]:
    """{candidate: {change, misregistration, blocks of each kind}}; a kind without blocks is left out."""
    out: dict[str, dict[str, float]] = {}
    for name in sorted({name for name, _ in blocks}):
        kinds = {kind: blocks.get((name, kind), []) for kind in ("good", "change", "misregistration")}
        found = {f"{kind}_blocks": float(len(values)) for kind, values in kinds.items()}
        stable = kinds["good"] + kinds["misregistration"]
        for kind, against in (("change", stable), ("misregistration", kinds["good"])):
            if against and kinds[kind]:
                u = float(mannwhitneyu(against, kinds[kind]).statistic)
                found[kind] = round(u / (len(against) * len(kinds[kind])), 4)
        out[name] = found
    return out
