"""Encoders of measured sequences: affect features by a transformer, clinical series by a GRU. L steps, F features."""

from __future__ import annotations

from torch import Tensor, nn


class AffectEncoder(nn.Module):
    """MultiBench's transformer for MOSI, UR-FUNNY and MUSTARD: (B, L, F) to (B, L, 40), without positions of its own.

    Published runs give it no padding mask, so that a sample's features depend on how long its batch is. With `there`
    (B, L), false for padding, they do not; a row of padding only attends to its first step.
    """

    width = 40

    def __init__(
        self, features: int, layers: int = 5, heads: int = 5, hidden: int = 2048, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.projection = nn.Linear(features, self.width, bias=False)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(self.width, heads, hidden, dropout, batch_first=True, norm_first=True)
            for _ in range(layers)
        )

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        padding = None
        if there is not None:
            padding = ~there
            padding[:, 0] = False
        x = self.projection(x)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return x


class GRUEncoder(nn.Module):
    """(B, L, F) to the outputs of all steps (B, L, width). A step knows those before it: padding on the right is harmless."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.gru = nn.GRU(features, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.gru(x)
        out: Tensor = steps
        return out
