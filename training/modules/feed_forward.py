"""Two linear layers with a rectifier and dropout between, whose wide hidden layer never stands in memory as a whole.

N rows, C width, F width of the hidden layer. Where F is fifty times C, as in MultiBench's transformer, writing the
hidden layer out and reading it again costs more than its arithmetic, and more memory than everything else. Here some rows
at a time go all the way through while they are in the processor's cache. For the way back only x is kept: the hidden layer
is computed again, and what was dropped is drawn again from the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CACHED_BYTES = 1 << 20
"""Of hidden numbers at once: half of what a core's second cache holds."""


def feed_forward(x: Tensor, first: nn.Linear, second: nn.Linear, dropout: float = 0.0) -> Tensor:
    """second(dropout(relu(first(x)))) of x (N, C) on a CPU, in the weights' precision, whatever autocast asks for.

    Drawing is a third of the cost with torch's generator, so that one only gives the seed of a faster one.
    """
    seed = int(torch.randint(2**63 - 1, ())) if dropout else 0
    weights = (first.weight, first.bias, second.weight, second.bias)
    with torch.autocast("cpu", enabled=False):
        out: Tensor = _FeedForward.apply(x.to(first.weight.dtype), *weights, dropout, seed)
    return out


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, dropout: float, seed: int
    ) -> Tensor:
        ctx.save_for_backward(x, w1, b1, w2)
        ctx.drawn = (dropout, seed)
        out = x.new_empty(len(x), len(w2))
        for rows, hidden in _hidden(x, w1, b1, dropout, seed):
            torch.addmm(b2, hidden, w2.T, alpha=1 / (1 - dropout), out=out[rows])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, w1, b1, w2 = ctx.saved_tensors
        dropout, seed = ctx.drawn
        of_out = gradients[0] / (1 - dropout)
        of_x = torch.empty_like(x)
        of_w1, of_b1, of_w2 = (torch.zeros_like(each) for each in (w1, b1, w2))
        room: Tensor | None = None
        for rows, hidden in _hidden(x, w1, b1, dropout, seed):
            room = torch.empty_like(hidden) if room is None else room[: len(hidden)]
            of_w2.addmm_(of_out[rows].T, hidden)
            of_hidden = torch.mm(of_out[rows], w2, out=room)
            # What was rectified or dropped is 0, and passes nothing on.
            torch.ops.aten.threshold_backward.grad_input(of_hidden, hidden, 0, grad_input=of_hidden)
            of_w1.addmm_(of_hidden.T, x[rows])
            of_b1 += of_hidden.sum(0)
            torch.mm(of_hidden, w1, out=of_x[rows])
        return of_x, of_w1, of_b1, of_w2, gradients[0].sum(0), None, None


def _hidden(x: Tensor, w1: Tensor, b1: Tensor, dropout: float, seed: int) -> Iterator[tuple[slice, Tensor]]:
    """Some rows and what the hidden layer has for them, rectified, and with zeros for what is dropped; all in the same
    room, one after the other."""
    width = len(w1)
    some = min(len(x), max(1, CACHED_BYTES // (width * x.element_size())))
    room = x.new_empty(some, width)
    kept = torch.empty_like(room)
    drawn = np.random.SFC64(seed)
    least = round(dropout * 2**32)
    for first in range(0, len(x), some):
        part = x[first : first + some]
        hidden = torch.addmm(b1, part, w1.T, out=room[: len(part)]).relu_()
        if dropout:
            numbers = drawn.random_raw(-(-hidden.numel() // 2)).view(np.uint32)[: hidden.numel()]
            hidden *= kept[: len(part)].copy_(torch.from_numpy(numbers >= least).view_as(hidden))
        yield slice(first, first + some), hidden
