"""Encoders of measured sequences: affect features by a transformer, clinical series by a GRU. L steps, F features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.modules.encoders.encoder import Encoder
from training.modules.feed_forward import feed_forward
from training.modules.padding import is_there


class StepEncoder(Encoder):
    """A part for each step. `ignores_padding`, as the published code does: then steps of zeros at the end are steps
    like any others, and what becomes of a sample depends on how far it is padded."""

    def __init__(self, ignores_padding: bool) -> None:
        super().__init__()
        self.ignores_padding = ignores_padding

    def there(self, x: Tensor, parts: Tensor) -> Tensor:
        return super().there(x, parts) if self.ignores_padding else is_there("sequence", x)


class AffectLayer(nn.TransformerEncoderLayer):
    """torch's own, but for how its feed-forward part is computed while it trains on a CPU."""

    def _ff_block(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super()._ff_block(x)
        out = feed_forward(x.flatten(0, -2), self.linear1, self.linear2, self.dropout.p).view_as(x)
        dropped: Tensor = self.dropout2(out)
        return dropped


class AffectEncoder(StepEncoder):
    """MultiBench's transformer for MOSI, UR-FUNNY and MUSTARD: (B, L, F) to (B, L, 40), without positions of its own.

    Published runs give it no padding mask, and where one vector is wanted they take the last step's, padding or not.
    With a mask, no step attends to padding, and one vector is the mean of the steps that are there.
    """

    width = 40

    def __init__(
        self,
        features: int,
        layers: int = 5,
        dropout: float = 0.1,
        *,
        heads: int = 5,
        hidden: int = 2048,
        ignores_padding: bool = False,
    ) -> None:
        super().__init__(ignores_padding)
        self.projection = nn.Linear(features, self.width, bias=False)
        self.layers = nn.ModuleList(
            AffectLayer(self.width, heads, hidden, dropout, batch_first=True, norm_first=True)
            for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        padding = None if self.ignores_padding else ~is_there("sequence", x)
        x = self.projection(x)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return x

    def summary(self, parts: Tensor, there: Tensor) -> Tensor:
        return parts[:, -1] if self.ignores_padding else super().summary(parts, there)


class GRUEncoder(StepEncoder):
    """(B, L, F) to the outputs of all steps (B, L, width). A step knows those before it: padding at the end is harmless.

    One vector is the output of the last step that is there.
    """

    def __init__(self, features: int, width: int, *, ignores_padding: bool = False) -> None:
        super().__init__(ignores_padding)
        self.width = width
        self.gru = nn.GRU(features, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            return _in_graph(self.gru, x)
        # In its weights' precision: on a GPU autocast computes a GRU in float16 even where it is asked for bfloat16, and
        # in float16 gradients vanish unless the loss is scaled, which nobody does here.
        with torch.autocast(x.device.type, enabled=False):
            steps: Tensor = self.gru(x.to(next(self.gru.parameters()).dtype))[0]
        return steps

    def summary(self, parts: Tensor, there: Tensor) -> Tensor:
        last = there.sum(1).sub(1)[:, None, None].expand(-1, 1, parts.shape[2])
        return parts.gather(1, last).squeeze(1)


def _in_graph(gru: nn.GRU, x: Tensor) -> Tensor:
    """ONNX's own operator for the GRU (B, L, F) → (B, L, width). torch would unroll it for the one length it is shown.

    ONNX has the update gate first, torch the reset gate. That torch resets after the product has a name there.
    """

    def reordered(name: str) -> Tensor:
        reset, update, new = weights[name].chunk(3)
        return torch.cat([update, reset, new])

    weights = dict(gru.named_parameters())
    bias = torch.cat([reordered("bias_ih_l0"), reordered("bias_hh_l0")])
    steps = torch.onnx.ops.symbolic(
        "GRU",
        (x.transpose(0, 1), reordered("weight_ih_l0")[None], reordered("weight_hh_l0")[None], bias[None]),
        {"hidden_size": gru.hidden_size, "linear_before_reset": 1},
        dtype=x.dtype,
        shape=(x.shape[1], 1, x.shape[0], gru.hidden_size),
        version=14,
    )  # (L, directions, B, width)
    return steps[:, 0].transpose(0, 1)
