"""An exponential moving average of the weights, which often embeds better than the weights of the last step."""

from __future__ import annotations

import copy

import torch

from training.methods import Method


class AveragedWeights:
    """`network` has the average θ̄ ← d θ̄ + (1 − d) θ of `source` after each step n, d = min(decay, (1 + n) / (10 + n)).

    The smaller d of the first steps forgets the random start sooner (as TensorFlow's ExponentialMovingAverage does).
    Running statistics of batch-norms are copied: they are averages already.
    """

    def __init__(self, source: Method, decay: float) -> None:
        self._source, self._decay = source, decay
        frozen = {id(each): each for each in source.parameters() if not each.requires_grad}
        self.network = copy.deepcopy(source, memo=frozen).requires_grad_(False)  # which share what is frozen

    @torch.no_grad()
    def update(self, step: int) -> None:
        """step: finished optimizer steps, from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, current in zip(self.network.parameters(), self._source.parameters(), strict=True):
            if current.requires_grad:
                average.lerp_(current, 1 - decay)
        for own, source in zip(self.network.buffers(), self._source.buffers(), strict=True):
            own.copy_(source)
