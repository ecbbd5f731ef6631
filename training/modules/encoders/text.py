"""A text transformer that is trained from scratch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.modules.fusion import Block


class TextEncoder(nn.Module):
    """A small text transformer, from scratch: token ids (B, L), zero for padding, to (B, L, C)."""

    def __init__(self, vocabulary: int, max_tokens: int, width: int, heads: int, layers: int = 2) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(1, max_tokens, width) * 0.01)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        nn.init.normal_(self.embedding.weight, std=0.02)
        for block in self.blocks:
            if isinstance(block, Block):
                block.initialise(layers)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.position[:, : ids.shape[1]]
        # A row of padding only still attends to its first slot: a softmax over nothing would be NaN.
        padding = (ids == 0) & (torch.arange(ids.shape[1], device=ids.device) > 0)
        bias = torch.where(padding, -torch.inf, 0.0)
        for block in self.blocks:
            x = block(x, bias)
        return x
