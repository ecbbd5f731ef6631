"""What logistic regressions minimise: a mean entropy of logits, and a penalty. N samples, D width, C classes, A problems.

All problems are on the same samples, so that their logits are one matrix product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from training.spec import Penalty

MOST_LOGITS = 1 << 24
"""That are held at a time; for more, the samples are passed over in parts."""


class Problem(NamedTuple):
    y: Tensor
    """Classes, int64 (N,), in [0, C); or of one label, whether samples have it, bool (N,)."""
    cost: float


class Entropy(ABC):
    """Called with points (A, C · (D + 1)) of the problems (A,), gives losses (A,) and gradients.

    A point is the weights and, last in each row, the biases of a problem, (C, D + 1).
    """

    def __init__(self, x: Tensor, problems: Sequence[Problem], classes: int, penalty: Penalty) -> None:
        self._x, self._classes, self._penalty = x, classes, penalty
        self._sums = torch.float64 if penalty == "squared" else x.dtype
        self._truths = torch.stack([each.y for each in problems])  # (P, N)
        self._costs = x.new_tensor([each.cost for each in problems])
        self._chosen: Tensor | None = None
        self._truth, self._cost = self._truths, self._costs

    def __call__(self, points: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        if self._chosen is not problems:
            self._chosen, self._truth, self._cost = problems, self._truths[problems], self._costs[problems]
        weights = points.view(len(points) * self._classes, -1)
        losses, gradient = self._data_part(weights)
        shape = (len(points), self._classes, -1)
        penalties, pull = self._penalty_part(weights.view(shape)[..., :-1])
        gradient.view(shape)[..., :-1] += pull
        return losses + penalties, gradient.view_as(points)

    def _data_part(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Mean losses (A,) and their gradients (A · C, D + 1): all problems' logits are one matrix product."""
        count, gradient = len(self._truth), torch.zeros_like(weights)
        losses = weights.new_zeros(count, dtype=self._sums)
        part = max(1, MOST_LOGITS // len(weights))
        for x, truth in zip(self._x.split(part), self._truth.split(part, dim=1), strict=True):
            logits = torch.addmm(weights[:, -1:], weights[:, :-1], x.T)  # (A · C, n)
            losses += self._losses_(logits.view(count, self._classes, -1), truth).sum(1, dtype=self._sums)
            gradient[:, :-1].addmm_(logits, x)
            gradient[:, -1] += logits.sum(1)
        return losses / len(self._x), gradient.div_(len(self._x))

    def _penalty_part(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Penalties (A,) of weights (A, C, D), and their gradients."""
        if self._penalty == "squared":
            share = 1 / (self._cost * len(self._x))
            return weights.square().sum((1, 2)) * share / 2, weights * share[:, None, None]
        norm = torch.linalg.vector_norm(weights, dim=(1, 2))
        # At W = 0 the norm has no gradient; the subgradient that is taken there is 0.
        share = torch.where(norm > 0, 1 / (2 * self._cost * norm.clamp_min(torch.finfo(norm.dtype).tiny)), 0)
        return norm / (2 * self._cost), weights * share[:, None, None]

    @abstractmethod
    def _losses_(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Losses (A, n) of logits (A, C, n); in place of the logits come the derivatives by them."""


class CrossEntropy(Entropy):
    def _losses_(self, logits: Tensor, truth: Tensor) -> Tensor:
        logits -= logits.amax(1, keepdim=True)
        right = truth[:, None]
        of_right = logits.gather(1, right)
        total = logits.exp_().sum(1, keepdim=True)
        logits /= total
        losses = total.log_() - of_right
        logits.scatter_add_(1, right, logits.new_full((1, 1, 1), -1).expand_as(right))
        return losses[:, 0]


class LabelEntropy(Entropy):
    def _losses_(self, logits: Tensor, truth: Tensor) -> Tensor:
        sign = torch.where(truth, -1.0, 1.0).to(logits)[:, None]
        logits *= sign
        losses = softplus(logits)
        logits.sigmoid_().mul_(sign)
        return losses[:, 0]
