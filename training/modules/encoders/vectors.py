"""Encoders of plain vectors: tables and a robot's proprioception, as MultiBench has them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

SLOPE = 0.1


class MLPEncoder(nn.Module):
    """(B, F) to (B, 1, width): linear layers with ReLU between. MIMIC's table: 5 features, widths 10 and 10."""

    def __init__(self, features: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.width = widths[-1]
        self.layers = _linear(features, widths, nn.ReLU())[:-1]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out[:, None]


class ProprioceptionEncoder(nn.Module):
    """A robot's state (B, 8) to (B, 1, width) by 8-32-64-128-width, rectified with a leak of 0.1 (arXiv:1810.10191)."""

    def __init__(self, width: int, features: int = 8) -> None:
        super().__init__()
        self.width = width
        self.layers = _linear(features, (32, 64, 128, width), nn.LeakyReLU(SLOPE))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out[:, None]


def _linear(features: int, widths: Sequence[int], rectifier: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip([features, *widths], widths, strict=False):
        layers += [nn.Linear(before, after), rectifier]
    return nn.Sequential(*layers)
