"""Encoders: one modality's raw input (B, …) to features of its parts (B, L, C).

An encoder knows its number of channels `width` and, where it is fixed, its number of parts `length`. Images keep their
grid in `grid` (rows, columns) so that an adapter can add positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.modules.fusion import Block
from training.spec import Modality, Model


class ConvEncoder(nn.Module):
    """Three 3 × 3 convolutions for small images; as many of them halve the image as leave at least 4 × 4 parts."""

    def __init__(self, channels: int, size: int, width: int = 64) -> None:
        super().__init__()
        halvings = min(3, max(1, round(math.log2(size / 4))))
        strides = [2 if i < halvings else 1 for i in range(3)]
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, strides[0], padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, strides[1], padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, strides[2], padding=1), nn.ReLU(),
        )  # fmt: skip
        self.width = width
        self.grid = _grid_of(self.layers, channels, size)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features.flatten(2).transpose(1, 2)


class AlexNetEncoder(nn.Module):
    """The convolutions of AlexNet in its one-GPU form (arXiv:1404.5997), from scratch: 224 pixels give 6 × 6 parts."""

    width = 256

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.grid = _grid_of(self.layers, channels, size)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features.flatten(2).transpose(1, 2)


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


Encoder = ConvEncoder | AlexNetEncoder | TextEncoder


def build_encoder(modality: Modality, model: Model, vocabulary: int) -> Encoder:
    if modality.kind == "text":
        return TextEncoder(vocabulary, modality.max_tokens, model.dim, model.heads)
    large = modality.size >= 64 if model.encoder == "auto" else model.encoder == "alexnet"
    return (AlexNetEncoder if large else ConvEncoder)(modality.channels, modality.size)


def _grid_of(layers: nn.Module, channels: int, size: int) -> tuple[int, int]:
    """The rows and columns that come out, found by sending an image without content through."""
    with torch.no_grad():
        rows, columns = layers(torch.zeros(1, channels, size, size)).shape[-2:]
    return rows, columns
