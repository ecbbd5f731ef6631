"""An estimate of how spread out embeddings are, whose gradient is useful although its value alone is not."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.losses.result import full_precision

NARROWEST, RIDGE = 0.1, 0.01


@full_precision
def entropy(z: Tensor) -> Tensor:
    """H = mean_b −ĝ_b · z_b, with Stein's estimate ĝ of the score ∇ log p(z) held constant (arXiv:1705.07107).

    Only its gradient, −ĝ/B, is that of the entropy; stepping along it drives embeddings apart. On normalised z with the
    kernel G = exp(z zᵀ / h), h = max(0.1, median of 1 − z zᵀ):
        ĝ = −(G + 0.01 I)⁻¹ [rowsum(G)_b · z_b / h].
    z: (B, D), normalised inside.
    """
    z = normalize(z, dim=-1)
    return -(score(z.detach()) * z).sum(-1).mean()


def score(z: Tensor) -> Tensor:
    """ĝ (B, D) of normalised z. In float64: the kernel's values span nine powers of ten at its narrowest."""
    cosines = z.double() @ z.double().T
    width = (1 - cosines).median().clamp_min(NARROWEST)
    kernel = (cosines / width).exp()
    ridge = RIDGE * torch.eye(len(z), dtype=torch.float64, device=z.device)
    slope = kernel.sum(1, keepdim=True) * z.double() / width
    return -torch.linalg.solve(kernel + ridge, slope).to(z.dtype)
