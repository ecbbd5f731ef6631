"""Conditional augmentation: hides of one modality what another already tells. B batch, L parts, C channels.

FactorCL (arXiv:2306.05268, §3.2) asks for an augmentation of x₂ that keeps what only x₂ says and may lose what x₁ says
as well, and leaves open how such a one is found; the published code has none. Ours asks the critic of what is shared:
the parts of x₂ that most raise its score for x₁ are hidden. How much a part does is told by the gradient times the
features, as in Grad-CAM (arXiv:1610.02391), of cells of an image and words; and by the gradient times the input, of
steps and columns, and of an image whose encoder lets all parts know of all others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.modules.encoders import WordEncoder, encode
from training.modules.hiding import hide, hideable
from training.modules.patches import patchify
from training.modules.pooling import Pooled
from training.spec import Modality


def without_shared(
    modality: Modality, x: Tensor, pooled: Pooled, score: Callable[[Tensor], Tensor], share: float
) -> Tensor:
    """x, raw inputs (B, …) of the modality, without the share of its parts that speak most for a high score.

    score: from the pooled vectors (B, width) of x to a score of each (B,). At least one part of each sample is hidden
    and at least one is left.
    """
    encoder = pooled.encoder
    rows = modality.size // modality.patch_size if modality.kind == "image" else 0
    grid = encoder.grid or (rows, rows)
    with torch.enable_grad():
        if isinstance(encoder, WordEncoder) or encoder.grid is not None:
            parts = encode(encoder, x, 1).detach().requires_grad_()  # (B, L, C)
            (slope,) = torch.autograd.grad(score(pooled.pool(parts, x)).sum(), parts)
            speaks = (slope * parts.detach()).sum(-1)  # (B, L)
        else:
            given = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(score(pooled(given)).sum(), given)
            speaks = _by_part(modality, slope * x)
    hidden = highest(speaks, hideable(modality, encoder, x, grid), share)
    return hide(modality, encoder, x, hidden, grid)


def _by_part(modality: Modality, values: Tensor) -> Tensor:
    """(B, L), from values of all numbers of the input: patches of an image, steps of a sequence, columns of a table."""
    match modality.kind:
        case "image":
            return patchify(values, modality.patch_size).sum(-1)
        case "sequence":
            return values.sum(-1)
        case _:
            return values


def highest(values: Tensor, there: Tensor, share: float) -> Tensor:
    """(B, L) booleans, true for the highest values of each sample: a share, rounded, of those that are there, at least
    one, and never all; none of a single one."""
    rank = values.masked_fill(~there, -torch.inf).argsort(dim=-1, descending=True).argsort(dim=-1)
    n = there.sum(-1, keepdim=True)
    count = (n * share).round().clamp_min(1).minimum(n - 1)
    return there & (rank < count)
