"""Encoders of plain vectors: tables and a robot's proprioception, as MultiBench has them. F columns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from training.modules.encoders.encoder import Encoder

SLOPE = 0.1


class ColumnsEncoder(Encoder):
    """(B, F) to (B, 1, F), unchanged: one part, of whose numbers each makes a token."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.width = features

    def forward(self, x: Tensor) -> Tensor:
        return x[:, None]


class MLPEncoder(Encoder):
    """(B, F) to (B, 1, width): linear layers with ReLU between. MIMIC's table: 5 columns, widths 10 and 10."""

    def __init__(self, features: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.width = widths[-1]
        self.layers = _linear(features, widths, nn.ReLU())[:-1]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out[:, None]


class ProprioceptionEncoder(Encoder):
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
