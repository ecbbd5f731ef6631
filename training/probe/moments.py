"""Means and products of the columns of samples, in one pass. N samples, D columns in all."""

from __future__ import annotations

import torch
from torch import Tensor


def samples_at_once(device: torch.device) -> int:
    """Samples whose products are summed in the features' own precision; the sums of the parts are summed in float64.

    As many as a processor's cache holds. On a GPU each part costs its launches, and fewer ones are faster.
    """
    return 1024 if device.type == "cpu" else 16_384


def moments(*tables: Tensor) -> tuple[Tensor, Tensor]:
    """Means (D) and products (D, D) of the centred columns of tables (N, Dᵢ) side by side, both float64."""
    n = len(tables[0])
    size = min(n, samples_at_once(tables[0].device))
    # Any point near the mean keeps the products small.
    near = torch.cat([table[:size].mean(0) for table in tables])
    sums = torch.zeros(len(near), dtype=torch.float64, device=near.device)
    products = torch.zeros(len(near), len(near), dtype=torch.float64, device=near.device)
    widths = [table.shape[1] for table in tables]
    room = near.new_empty(size, len(near))
    for some in zip(*(table.split(size) for table in tables), strict=True):
        part = room[: len(some[0])]
        for own, shift, into in zip(some, near.split(widths), part.split(widths, dim=1), strict=True):
            torch.sub(own, shift, out=into)
        sums += part.sum(0)
        products += part.T @ part
    return near + sums / n, products - torch.outer(sums, sums) / n
