"""Conditional augmentation: hides of one modality what another already tells. B batch, L parts, C channels.

FactorCL (arXiv:2306.05268, §3.2) asks for an augmentation of x₂ that keeps what only x₂ says and may lose what x₁ says
as well, and leaves open how such a one is found; the published code has none. Ours asks the critic of what is shared:
the parts of x₂ that most raise its score for x₁ are hidden, by the gradient times the features, as in Grad-CAM
(arXiv:1610.02391).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.data.captions import MASK_ID
from training.modules.encoders import TextEncoder
from training.modules.patches import without
from training.modules.pooling import Pooled


def without_shared(x: Tensor, pooled: Pooled, score: Callable[[Tensor], Tensor], share: float) -> Tensor:
    """x, images (B, C, H, W) or texts (B, L), without the share of its parts that speak most for a high score.

    score: from the pooled vectors (B, width) of x to a score of each (B,). At least one part of each sample is hidden
    and at least one is left.
    """
    with torch.enable_grad():
        parts = pooled.encoder(x).detach().requires_grad_()  # (B, L, C)
        (slope,) = torch.autograd.grad(score(pooled.pool(parts, x)).sum(), parts)
    speaks = (slope * parts.detach()).sum(-1)  # (B, L)
    is_text = isinstance(pooled.encoder, TextEncoder)
    there = x > MASK_ID if is_text else torch.ones_like(speaks, dtype=torch.bool)
    hidden = highest(speaks, there, share)
    if isinstance(pooled.encoder, TextEncoder):
        return x.masked_fill(hidden, MASK_ID)
    return without(x, hidden, pooled.encoder.grid)


def highest(values: Tensor, there: Tensor, share: float) -> Tensor:
    """(B, L) booleans, true for the highest values of each sample: a share, rounded, of those that are there, at least
    one, and never all; none of a single one."""
    rank = values.masked_fill(~there, -torch.inf).argsort(dim=-1, descending=True).argsort(dim=-1)
    n = there.sum(-1, keepdim=True)
    count = (n * share).round().clamp_min(1).minimum(n - 1)
    return there & (rank < count)
