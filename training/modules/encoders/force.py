"""A force sensor's last readings, by causal convolutions (arXiv:1810.10191). L readings, F axes."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from training.modules.encoders.encoder import Encoder

SLOPE = 0.1
WIDTHS = (16, 32, 64, 128)


class ForceEncoder(Encoder):
    """(B, L, F) to (B, L / 32, width), 32 readings to one part: five convolutions over two steps that halve the length.

    Part t has seen readings up to 32 · t + 31 and none after it, and all 32 of its own. All parts are there: a sensor's
    last readings are as many as were asked for.
    """

    def __init__(self, width: int, axes: int = 6) -> None:
        super().__init__()
        self.width = width
        widths = (axes, *WIDTHS, width)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            convolution = nn.Conv1d(before, after, 2, stride=2)
            nn.init.kaiming_normal_(convolution.weight)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers += [convolution, nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x.transpose(1, 2))
        return out.transpose(1, 2)
