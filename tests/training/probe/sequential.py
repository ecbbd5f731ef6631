"""The published probe as it is written down: one fit after the other, by torch's own solver. Slow and obvious."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.probe.logistic import Linear

COARSE = tuple(10.0**power for power in (-6, -4, -2, 0, 2, 4, 6))


def fit(x: Tensor, y: Tensor, classes: int, cost: float) -> Linear:
    """Minimises mean cross-entropy + ‖W‖ / (2 · cost) from W = 0. x (N, D), y (N) in [0, C)."""
    return fit_counting(x, y, classes, cost)[0]


def fit_counting(x: Tensor, y: Tensor, classes: int, cost: float) -> tuple[Linear, int]:
    """The same, and how often the objective was evaluated."""
    weight = torch.zeros(x.shape[1], classes, dtype=x.dtype, device=x.device, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, device=x.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], lr=1, max_iter=100, history_size=100, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        solver.zero_grad()
        # At W = 0 the norm has no gradient; torch's subgradient there is 0.
        loss = cross_entropy(x @ weight + bias, y) + torch.linalg.norm(weight) / (2 * cost)
        loss.backward()
        return loss

    solver.step(objective)
    return Linear(weight.detach(), bias.detach(), cost), int(solver.state[weight]["func_evals"])


def search_cost(score: Callable[[float], float], *, fine: bool = True) -> float:
    """`score` is asked once per distinct cost; on ties the cost asked first wins."""
    scores: dict[float, float] = {}

    def scored(cost: float) -> float:
        if cost not in scores:
            scores[cost] = score(cost)
        return scores[cost]

    best = max(COARSE, key=scored)
    if fine:
        centre = np.log10(best)
        grid = np.logspace(centre - 2, centre + 2, 29, dtype=np.float32).clip(1e-6, 1e6)
        costs = [float(cost) for cost in grid]
        while len(costs) > 1:
            left, middle, right = len(costs) // 4, len(costs) // 2, -len(costs) // 4
            at = int(np.argmax([scored(costs[i]) for i in (left, middle, right)]))
            costs = [costs[:middle], costs[left:right], costs[middle:]][at]
        scored(costs[0])
    return max(scores, key=lambda cost: scores[cost])
