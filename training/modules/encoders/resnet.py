"""ResNet-18 and ResNet-50 (arXiv:1512.03385) from scratch, whose batch-norms see each view as a batch of its own.

The published runs send the two augmentations of a batch through one after the other: each has its own statistics, and the
running ones, which embedding uses, are updated twice, in order. One pass over both must give the same.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from training.modules.encoders.batch_norm import ViewBatchNorm, pooled, rectified_convolution
from training.modules.encoders.encoder import Encoder


class _Block(nn.Module):
    """x + F(x), the sum rectified. A block that changes the shape projects x to the new one."""

    def __init__(self, convolutions: list[nn.Conv2d], stride: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(ViewBatchNorm(each.out_channels) for each in convolutions)
        before, after = convolutions[0].in_channels, convolutions[-1].out_channels
        changes = stride != 1 or before != after
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if changes else None
        self.shortcut_norm = ViewBatchNorm(after) if changes else None

    def forward(self, x: Tensor, n_views: int) -> Tensor:
        first, *others = self.convolutions
        *norms, last = self.norms
        out = first(x)
        for norm, convolution in zip(norms, others, strict=True):
            out = rectified_convolution(out, norm, convolution, n_views)  # type: ignore[arg-type]
        out = last(out, n_views)
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x), n_views)
        return relu(x + out)


def _basic(before: int, width: int, stride: int) -> _Block:
    """Two 3 × 3 convolutions."""
    return _Block(
        [
            nn.Conv2d(before, width, 3, stride, padding=1, bias=False),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        ],
        stride,
    )


def _bottleneck(before: int, width: int, stride: int) -> _Block:
    """1 × 1, 3 × 3 and 1 × 1 to four times the width; the stride is the middle one's (known as v1.5)."""
    return _Block(
        [
            nn.Conv2d(before, width, 1, bias=False),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
            nn.Conv2d(width, 4 * width, 1, bias=False),
        ],
        stride,
    )


LAYERS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class ResNetEncoder(Encoder):
    """Images (V · B, C, H, H) of V views to their parts (V · B, L, width): 128 pixels give 4 × 4 parts.

    `width` is 512 (ResNet-18) or 2048 (ResNet-50).
    """

    has_batch_norms = True

    def __init__(self, channels: int, size: int, depth: Literal[18, 50]) -> None:
        super().__init__()
        block, growth = (_basic, 1) if depth == 18 else (_bottleneck, 4)
        self.stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.stem_norm = ViewBatchNorm(64)
        self.blocks = nn.ModuleList()
        before = 64
        for stage, count in enumerate(LAYERS[depth]):
            width = 64 * 2**stage
            for i in range(count):
                self.blocks.append(block(before, width, 2 if stage > 0 and i == 0 else 1))
                before = growth * width
        self.width = before
        side = -(-size // 32)
        self.grid = (side, side)
        self._initialise()
        # In this order of numbers convolutions and norms are faster.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, n_views: int = 1) -> Tensor:
        if n_views > 1 and x.device.type == "cpu":
            # On a CPU one pass saves nothing, and putting the views together again behind every norm costs.
            return torch.cat([self(view) for view in x.chunk(n_views)])
        x = pooled(self.stem(x), self.stem_norm, n_views)
        for block in self.blocks:
            x = block(x, n_views)
        return x.flatten(2).transpose(1, 2)

    def _initialise(self) -> None:
        """Each block starts as the identity (arXiv:1706.02677, §5.1): its last norm has weight zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, _Block):
                last = module.norms[-1]
                assert isinstance(last, ViewBatchNorm)
                nn.init.zeros_(last.weight)
