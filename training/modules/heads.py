"""Projection heads: what stands between an embedding and a contrastive loss, and is thrown away afterwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm


class GroupedBatchNorm(nn.Module):
    """Batch normalisation of G groups with statistics of their own: (G, B, D) → (G, B, D).

    Exactly what a `BatchNorm1d` gives that is called once per group, in one kernel. There are no running statistics:
    the head is never used outside training.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        groups, batch, dim = x.shape
        flat = x.transpose(0, 1).reshape(batch, groups * dim)
        weight, bias = self.weight.repeat(groups), self.bias.repeat(groups)
        flat = batch_norm(flat, None, None, weight, bias, training=True)
        return flat.view(batch, groups, dim).transpose(0, 1)


class ProjectionHead(nn.Module):
    """Three linear layers with batch-norm and ReLU between: (G, B, D) → (G, B, out), one head for all views."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, hidden),
            GroupedBatchNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            GroupedBatchNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, out),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out
