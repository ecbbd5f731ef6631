"""One vector per sample from an encoder's parts, for the methods that compare whole modalities."""

from __future__ import annotations

from torch import Tensor, nn

from training.modules.encoders import AlexNetEncoder, ConvEncoder, Encoder, encode


class Pooled(nn.Module):
    """One vector per sample: a linear layer over all parts of plain convolutions, the encoder's own summary of others."""

    LATENT = 256

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.summary_width
        if isinstance(encoder, ConvEncoder | AlexNetEncoder):
            self.width = self.LATENT
            self.latent = nn.Linear(encoder.grid[0] * encoder.grid[1] * encoder.width, self.LATENT)

    def forward(self, x: Tensor, n_views: int = 1) -> Tensor:
        """(V · B, width) of V views that lie one after the other in the batch."""
        return self.pool(encode(self.encoder, x, n_views), x)

    def pool(self, parts: Tensor, x: Tensor) -> Tensor:
        """(B, width) from the encoder's parts (B, L, C) of the raw input x."""
        if isinstance(self.encoder, ConvEncoder | AlexNetEncoder):
            pooled: Tensor = self.latent(parts.flatten(1))
            return pooled
        return self.encoder.summary(parts, self.encoder.there(x, parts))
