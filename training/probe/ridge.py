"""Ridge regression for all strengths of its penalty at once. N samples, D width, K outputs.

With the centred samples' XᵀX = V Λ Vᵀ, the weights for any alpha are V (Λ + alpha)⁻¹ Vᵀ Xᵀ Y: one pass over the samples
and one eigendecomposition serve them all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.probe.logistic import Linear
from training.probe.moments import moments


def fit_ridge(x: Tensor, y: Tensor, alphas: Sequence[float]) -> list[Linear]:
    """For each alpha, the minimum of ‖XW + b - Y‖² + alpha ‖W‖² for x (N, D) and y (N, K)."""
    width = x.shape[1]
    mean, products = moments(x, y.to(x.dtype))
    values, vectors = torch.linalg.eigh(products[:width, :width])
    turned = vectors.T @ products[:width, width:]  # (D, K)
    fitted = []
    for alpha in alphas:
        weight = vectors @ (turned / (values.clamp_min(0)[:, None] + alpha))
        bias = mean[width:] - mean[:width] @ weight
        fitted.append(Linear(weight.to(x.dtype), bias.to(x.dtype), alpha))
    return fitted
