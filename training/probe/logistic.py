"""Multinomial logistic regression by the protocol behind the published tables. N samples, D width, C classes.

Two of its choices are unusual and matter for the numbers: the penalty is the Euclidean norm of the weights, not its
square, and the solver starts cold and stops after 100 iterations, where large costs have not converged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

COARSE_COSTS = tuple(10.0**power for power in (-6, -4, -2, 0, 2, 4, 6))
FINE_POINTS = 29
MAX_ITERATIONS = 100


@dataclass(frozen=True)
class LogisticRegression:
    weight: Tensor  # (D, C)
    bias: Tensor  # (C)
    cost: float

    def logits(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


def fit(x: Tensor, y: Tensor, classes: int, cost: float) -> LogisticRegression:
    """Minimises mean cross-entropy + ‖W‖ / (2 · cost) from W = 0 by L-BFGS. x (N, D), y (N) in [0, C)."""
    weight = torch.zeros(x.shape[1], classes, device=x.device, dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, device=x.device, dtype=x.dtype, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], lr=1, max_iter=MAX_ITERATIONS, history_size=100, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        solver.zero_grad()
        # At W = 0 the norm has no gradient; torch's subgradient there is 0.
        loss = cross_entropy(x @ weight + bias, y) + torch.linalg.norm(weight) / (2 * cost)
        loss.backward()
        return loss

    with torch.enable_grad():
        solver.step(objective)
    return LogisticRegression(weight.detach(), bias.detach(), cost)


def search_cost(score: Callable[[float], float], *, fine: bool = True) -> float:
    """The cost with the best score: seven decades, then a binary search on 29 points around the winner.

    `score` is asked once per distinct cost; on ties the cost asked first wins.
    """
    scores: dict[float, float] = {}

    def scored(cost: float) -> float:
        if cost not in scores:
            scores[cost] = score(cost)
        return scores[cost]

    best = max(COARSE_COSTS, key=scored)
    if fine:
        centre = np.log10(best)
        grid = np.logspace(centre - 2, centre + 2, FINE_POINTS, dtype=np.float32).clip(1e-6, 1e6)
        _narrow([float(cost) for cost in grid], scored)
    return max(scores, key=lambda cost: scores[cost])


def _narrow(costs: list[float], scored: Callable[[float], float]) -> None:
    """Halves the candidates around the best of three until one is left."""
    while len(costs) > 1:
        left, middle, right = len(costs) // 4, len(costs) // 2, -len(costs) // 4
        best = int(np.argmax([scored(costs[i]) for i in (left, middle, right)]))
        costs = [costs[:middle], costs[left:right], costs[middle:]][best]
    scored(costs[0])
