"""A small vision transformer (arXiv:2010.11929) that is trained from scratch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.modules.adapters import sine_positions
from training.modules.encoders.encoder import Encoder
from training.modules.fusion import Block


class ViTEncoder(Encoder):
    """Patches of an image to (B, L, C), row by row: a linear projection, fixed 2-D positions, pre-norm blocks, a norm.

    Without a class token: what makes one vector of the parts, pooling or the fusion, comes after. Raises ValueError when
    the patches do not divide the image.
    """

    positions: Tensor

    def __init__(
        self, channels: int, size: int, patch: int, width: int = 192, layers: int = 6, heads: int = 3
    ) -> None:
        super().__init__()
        if size % patch:
            raise ValueError(f"patches of {patch} pixels do not divide an image of {size}")
        rows = size // patch
        self.width, self.grid = width, (rows, rows)
        self.projection = nn.Conv2d(channels, width, patch, stride=patch)
        self.register_buffer("positions", sine_positions(width, rows, rows), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        for block in self.blocks:
            if isinstance(block, Block):
                block.initialise(layers)
        self.ln_out = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.projection(x).flatten(2).transpose(1, 2) + self.positions
        everything = torch.zeros_like(patches[..., 0])
        for block in self.blocks:
            patches = block(patches, everything)
        out: Tensor = self.ln_out(patches)
        return out
