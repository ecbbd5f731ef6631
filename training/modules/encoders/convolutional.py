"""Plain convolutions: a small stack for small images, and AlexNet's for larger ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.modules.encoders.encoder import Encoder


class _Convolutions(Encoder):
    layers: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.device.type == "cpu":
            # In this order of numbers convolutions and pooling are faster there.
            x = x.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.layers(x)
        return features.flatten(2).transpose(1, 2)


class ConvEncoder(_Convolutions):
    """Three 3 × 3 convolutions for small images; as many of them halve the image as leave at least 4 × 4 parts."""

    grid: tuple[int, int]

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
        self.grid = grid_of(self.layers, channels, size)


class AlexNetEncoder(_Convolutions):
    """The convolutions of AlexNet in its one-GPU form (arXiv:1404.5997), from scratch: 224 pixels give 6 × 6 parts."""

    width = 256
    grid: tuple[int, int]

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.grid = grid_of(self.layers, channels, size)


def grid_of(layers: nn.Module, channels: int, size: int) -> tuple[int, int]:
    """The rows and columns that come out, found by sending an image without content through."""
    with torch.no_grad():
        rows, columns = layers(torch.zeros(1, channels, size, size)).shape[-2:]
    return rows, columns
