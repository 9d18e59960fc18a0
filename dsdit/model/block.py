"""One joint block of DS-DiT: three streams, two joint attentions, patch-level weighting (arXiv 2605.17980).

The x stream attends once together with lr and once together with ref, with the same queries, keys and values; lr
and ref never see each other. What each brought is then weighed token by token.

Axes: B batch, N tokens, D hidden, H heads, K head size. `context` is the conditioning vector (B, D).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Streams = tuple[Tensor, Tensor, Tensor]


def modulate(tokens_BND: Tensor, shift_BD: Tensor, scale_BD: Tensor) -> Tensor:
    """Adaptive LayerNorm's affine part: tokens * (1 + scale) + shift."""
    return tokens_BND * (1 + scale_BD[:, None]) + shift_BD[:, None]


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis, with SD3.5's epsilon."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), eps=1e-6)


class Attention(nn.Module):
    """Projections of one stream; the attention itself joins two streams, see `JointBlock`."""

    def __init__(self, size: int, heads: int, qk_norm: str | None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size)
        self.proj = nn.Linear(size, size)
        self.ln_q: nn.Module = RMSNorm(size // heads) if qk_norm == "rms" else nn.Identity()
        self.ln_k: nn.Module = RMSNorm(size // heads) if qk_norm == "rms" else nn.Identity()

    def project(self, tokens_BND: Tensor) -> Streams:
        """(B, N, D) -> queries, keys, values, each (B, H, N, K)."""
        batch, count, size = tokens_BND.shape
        qkv = self.qkv(tokens_BND).reshape(batch, count, 3, self.heads, size // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return self.ln_q(q), self.ln_k(k), v


class Mlp(nn.Module):
    """Linear, tanh-GELU, linear; ratio 4."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size, 4 * size)
        self.fc2 = nn.Linear(4 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fc2(F.gelu(self.fc1(x), approximate="tanh")))


class StreamBlock(nn.Module):
    """The weights of one stream in one block: an SD3 block without its attention."""

    def __init__(self, size: int, heads: int, qk_norm: str | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(size, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(size, heads, qk_norm)
        self.mlp = Mlp(size)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(size, 6 * size))

    def before(self, tokens_BND: Tensor, context_BD: Tensor) -> tuple[Streams, tuple[Tensor, ...]]:
        """Queries, keys and values of the modulated tokens, and the four modulations that `after` needs."""
        shift, scale, *rest = self.adaLN_modulation(context_BD).chunk(6, dim=-1)
        return self.attn.project(modulate(self.norm1(tokens_BND), shift, scale)), tuple(rest)

    def after(self, tokens_BND: Tensor, attended_BND: Tensor, rest: tuple[Tensor, ...]) -> Tensor:
        """Adds what attention brought (already projected), then the MLP."""
        gate_attn, shift, scale, gate_mlp = rest
        tokens = tokens_BND + gate_attn[:, None] * attended_BND
        return tokens + gate_mlp[:, None] * cast(Tensor, self.mlp(modulate(self.norm2(tokens), shift, scale)))


class PatchWeighting(nn.Module):
    """PLW: weighs lr against ref for each token and adds the weighted sum to x. Adds nothing before training."""

    def __init__(self, size: int) -> None:
        super().__init__()
        first = 3 * size // 8
        second = max(first // 8, 1)
        self.gate = nn.Sequential(
            nn.Linear(3 * size, first), nn.SiLU(), nn.Linear(first, second), nn.SiLU(), nn.Linear(second, 2)
        )
        self.zero_proj = nn.Linear(size, size)

    def forward(self, x: Tensor, lr: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
        """Three (B, N, D) -> the new x (B, N, D) and alpha_ref (B, N) in 0..1."""
        alpha = self.gate(torch.cat([lr, ref, x], dim=-1)).softmax(dim=-1)
        return x + self.zero_proj(alpha[..., :1] * lr + alpha[..., 1:] * ref), alpha[..., 1]


def _attend_jointly(x: Streams, other: Streams) -> tuple[Tensor, Tensor]:
    """Attention over the tokens of both streams: (B, N, D) for x and for the other.

    In bfloat16 on a CPU the fused kernel takes twice the time of two batched products.
    """
    count, heads = x[0].shape[2], x[0].shape[1]
    q, k, v = (torch.cat(pair, dim=2) for pair in zip(x, other, strict=True))
    if v.dtype == torch.bfloat16 and v.device.type == "cpu":
        q, k, v = (t.to(v.dtype).flatten(0, 1) for t in (q, k, v))
        scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
        attended = torch.bmm(scores.softmax(-1, dtype=v.dtype), v).unflatten(0, (-1, heads))
    else:
        attended = F.scaled_dot_product_attention(q, k, v)
    joint = attended.transpose(1, 2).flatten(2)
    return joint[:, :count], joint[:, count:]


class JointBlock(nn.Module):
    """x, lr and ref -> x, lr and ref, and the weight that each token gave to ref."""

    def __init__(self, size: int, heads: int, qk_norm: str | None) -> None:
        super().__init__()
        self.x_block = StreamBlock(size, heads, qk_norm)
        self.lr_block = StreamBlock(size, heads, qk_norm)
        self.ref_block = StreamBlock(size, heads, qk_norm)
        self.weighting = PatchWeighting(size)

    def forward(self, streams: Streams, context_BD: Tensor, ref_scale: Tensor | float) -> tuple[Streams, Tensor]:
        """`ref_scale` is a number or (B, 1, 1). Returns the streams and alpha_ref (B, N)."""
        x, lr, ref = streams
        x_qkv, x_rest = self.x_block.before(x, context_BD)
        lr_qkv, lr_rest = self.lr_block.before(lr, context_BD)
        ref_qkv, ref_rest = self.ref_block.before(ref, context_BD)
        x_with_lr, lr_attended = _attend_jointly(x_qkv, lr_qkv)
        x_with_ref, ref_attended = _attend_jointly(x_qkv, ref_qkv)
        project = self.x_block.attn.proj
        x = self.x_block.after(x, project(x_with_lr) + ref_scale * project(x_with_ref), x_rest)
        lr = self.lr_block.after(lr, self.lr_block.attn.proj(lr_attended), lr_rest)
        ref = self.ref_block.after(ref, self.ref_block.attn.proj(ref_attended), ref_rest)
        x, alpha_ref = self.weighting(x, lr, ref)
        return (x, lr, ref), alpha_ref
