"""Decoders: from the fused embedding alone back to what was hidden. B batch, L places, W the decoder's width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.modules.adapters import sine_positions
from training.modules.fusion import Block
from training.spec import MAE, Modality


class Decoder(nn.Module):
    """A light transformer whose sequence is the embedding and, for each place, one mask token with its position."""

    positions: Tensor

    def __init__(self, dim: int, options: MAE, positions: Tensor, out: int) -> None:
        """positions: (1, L, W), fixed. out: numbers to say of each place."""
        super().__init__()
        width, layers = options.decoder_dim, options.decoder_layers
        self.entry = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.register_buffer("positions", positions, persistent=False)
        self.blocks = nn.ModuleList(Block(width, options.decoder_heads) for _ in range(layers))
        for block in self.blocks:
            if isinstance(block, Block):
                block.initialise(layers)
        self.ln_out = nn.LayerNorm(width)
        self.exit = nn.Linear(width, out)

    def forward(self, embedding: Tensor, length: int) -> Tensor:
        """(B, length, out) for the first `length` places, from the embedding (B, D)."""
        places = (self.mask_token + self.positions[:, :length]).expand(len(embedding), -1, -1)
        x = torch.cat([self.entry(embedding)[:, None], places], dim=1)
        everything = x.new_zeros(x.shape[:2])
        for block in self.blocks:
            x = block(x, everything)
        out: Tensor = self.exit(self.ln_out(x[:, 1:]))
        return out


def build_decoder(modality: Modality, options: MAE, dim: int, vocabulary: int) -> Decoder:
    width = options.decoder_dim
    match modality.kind:
        case "text":
            return Decoder(dim, options, sine_positions(width, 1, modality.max_tokens), vocabulary)
        case "image":
            side = options.patch_of(modality)
            rows = modality.size // side
            return Decoder(dim, options, sine_positions(width, rows, rows), side * side * modality.channels)
        case "sequence":
            return Decoder(dim, options, sine_positions(width, 1, modality.length), modality.features)
        case "table":
            return Decoder(dim, options, sine_positions(width, 1, modality.features), 1)
