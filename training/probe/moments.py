"""Means and products of the columns of samples, in one pass. N samples, D columns in all."""

from __future__ import annotations

import torch
from torch import Tensor

PART = 1024
"""Samples whose products are summed in the features' own precision; the sums of the parts are summed in float64."""


def moments(*tables: Tensor) -> tuple[Tensor, Tensor]:
    """Means (D) and products (D, D) of the centred columns of tables (N, Dᵢ) side by side, both float64."""
    near = torch.cat(
        [table[:PART].mean(0) for table in tables]
    )  # any point near the mean keeps the products small
    sums = torch.zeros(len(near), dtype=torch.float64, device=near.device)
    products = torch.zeros(len(near), len(near), dtype=torch.float64, device=near.device)
    widths = [table.shape[1] for table in tables]
    room = near.new_empty(PART, len(near))
    for some in zip(*(table.split(PART) for table in tables), strict=True):
        part = room[: len(some[0])]
        for own, shift, into in zip(some, near.split(widths), part.split(widths, dim=1), strict=True):
            torch.sub(own, shift, out=into)
        sums += part.sum(0)
        products += part.T @ part
    n = len(tables[0])
    return near + sums / n, products - torch.outer(sums, sums) / n
