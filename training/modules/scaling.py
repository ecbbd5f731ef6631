"""Numbers on the scale of the training data. N samples, F numbers of each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST = 1e-6
"""A deviation below this is that of a constant, which stays where it is."""


class Scale(nn.Module):
    """Standardises (…, F): zero mean and unit deviation, of each of the F numbers over all that it has learned from."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def learn(self, values: Tensor) -> None:
        """values: (N, F)."""
        mean = values.mean(0, dtype=torch.float64)
        std = (values - mean.to(values.dtype)).square_().mean(0, dtype=torch.float64).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < LEAST, 1.0, std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
