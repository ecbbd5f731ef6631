"""Adapters: an encoder's features to tokens of the common width, each with its place."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchAdapter(nn.Module):
    """Features of an image's parts (B, rows · columns, C) → tokens (B, rows · columns, D), fixed 2-D positions added."""

    positions: Tensor

    def __init__(self, width: int, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.projection = nn.Linear(width, dim)
        self.register_buffer("positions", sine_positions(dim, *grid), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x) + self.positions


class SequenceAdapter(nn.Module):
    """Features whose encoder has placed them already, or that have no place (B, L, C) → tokens (B, L, D)."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.projection(x)
        return out


class FeaturesAdapter(nn.Module):
    """Each number a token: the features of all parts (B, L, C), N = L · C of them, → tokens (B, N, D).

    Token i is xᵢ · Wᵢ + bᵢ, all of W and b drawn from N(0, 1), as published. W decays in training, b does not.
    """

    def __init__(self, count: int, dim: int) -> None:
        """count: N."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, dim))
        self.bias = nn.Parameter(torch.randn(count, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).unsqueeze(-1) * self.weight + self.bias


def sine_positions(dim: int, rows: int, columns: int) -> Tensor:
    """(1, rows · columns, dim): a quarter each of sin and cos over columns, then over rows; longest wave 2π · 10⁴.

    Source: MoCo v3 (arXiv:2104.02057), §4. `dim` must be divisible by 4.
    """
    frequency = 10_000 ** -(torch.arange(dim // 4) / (dim // 4))
    column, row = torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="ij")
    by_column, by_row = (each.flatten()[:, None] * frequency for each in (column, row))
    waves = [by_column.sin(), by_column.cos(), by_row.sin(), by_row.cos()]
    return torch.cat(waves, dim=1)[None]
