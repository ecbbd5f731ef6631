"""What an encoder is. B batch, L parts (an image's cells, a text's tokens, a sequence's steps), C numbers per part."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """Called with one modality's raw input (B, …) it gives the features of its parts (B, L, C)."""

    width: int
    """C."""
    grid: tuple[int, int] | None = None
    """Rows and columns, where the parts are an image's cells and do not know of their places."""
    has_batch_norms: bool = False
    """Then it is also told how many views lie in the batch: each is a batch of its own."""
    pooled: bool = False
    """Then what follows sees the summary alone, as the only part."""

    @property
    def summary_width(self) -> int:
        return self.width

    def there(self, x: Tensor, parts: Tensor) -> Tensor:
        """(B, L) booleans, false for parts that are padding of the raw input x."""
        return torch.ones_like(parts[..., 0], dtype=torch.bool)

    def summary(self, parts: Tensor, there: Tensor) -> Tensor:
        """One vector (B, summary_width) for all parts; their mean, where an encoder has no other way."""
        return mean_of(parts, there)


def mean_of(parts: Tensor, there: Tensor) -> Tensor:
    """(B, C) over the parts (B, L, C) that are there (B, L); zeros where none is."""
    weights = there.unsqueeze(-1).to(parts.dtype)
    return (parts * weights).sum(1) / weights.sum(1).clamp_min(1)
