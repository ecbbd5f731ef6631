"""Logistic regression, many at once: over costs, tasks and labels. N samples, D width, C classes, P problems.

By the protocol behind the published tables two choices are unusual and matter for the numbers: the penalty is the
Euclidean norm of the weights, not its square, and the solver starts cold and stops after 100 iterations, where large
costs have not converged. With the square only the minimum counts, and there is a short way to it: in the directions of
the samples' covariance, each scaled by about the curvature that it has at the minimum, no problem is ill-conditioned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.errors import DataError
from training.probe.entropy import CrossEntropy, Entropy, LabelEntropy, Problem
from training.probe.lbfgs import MAX_ITERATIONS, Objective, Tolerance, minimise
from training.probe.moments import moments
from training.spec import Penalty

MOST_BYTES = 1 << 30
"""Of memory for problems that are solved together; more are solved in turn."""
MOST_BYTES_EACH = 4 << 30
CONVERGED = Tolerance(gradient=1e-6, change=1e-9)
USUAL_CURVATURE = 1 / 8
"""Of an entropy by a logit, p (1 - p), which is at most twice that."""


@dataclass(frozen=True)
class Linear:
    """A probe: what it makes of an embedding is linear in it."""

    weight: Tensor  # (D, C)
    bias: Tensor  # (C)
    strength: float
    """The cost of a logistic regression, the alpha of a ridge regression."""

    def __call__(self, x: Tensor) -> Tensor:
        """Logits of classes or labels, or values, (N, C)."""
        return torch.addmm(self.bias, x, self.weight)


def fit(x: Tensor, y: Tensor, classes: int, cost: float, penalty: Penalty = "norm") -> Linear:
    (only,) = fit_classes(x, [Problem(y, cost)], classes, penalty)
    return only


def fit_classes(
    x: Tensor, problems: Sequence[Problem], classes: int, penalty: Penalty = "norm"
) -> list[Linear]:
    """Each minimises mean cross-entropy + penalty from W = 0, on the same samples x (N, D).

    The penalty is ‖W‖ / (2 · cost) for `norm`, ‖W‖² / (2 · cost · N) for `squared`; biases are free.
    Raises DataError when even one problem is too large for the memory that probes may take.
    """
    solve = _on_the_published_way if penalty == "norm" else _to_the_minimum
    points = solve(CrossEntropy, x, problems, classes)
    return [_linear(point, problem.cost) for point, problem in zip(points, problems, strict=True)]


def fit_labels(x: Tensor, labels: Tensor, costs: Sequence[float]) -> list[Linear]:
    """For each cost, one regression per label with a squared penalty, on x (N, D) and labels bool (N, C)."""
    problems = [Problem(label, cost) for cost in costs for label in labels.T]
    points = _to_the_minimum(LabelEntropy, x, problems, 1).view(len(costs), labels.shape[1], -1)
    return [_linear(point, cost) for point, cost in zip(points, costs, strict=True)]


def _linear(point: Tensor, strength: float) -> Linear:
    return Linear(point[:, :-1].T.contiguous(), point[:, -1].clone(), strength)


def _on_the_published_way(
    entropy: type[Entropy], x: Tensor, problems: Sequence[Problem], classes: int
) -> Tensor:
    """Weights and biases (P, C, D + 1) where the published solver would leave each problem."""

    def solve(some: Sequence[Problem], start: Tensor) -> Tensor:
        return minimise(entropy(x, some, classes, "norm"), start.flatten(1)).view_as(start)

    return _in_parts(solve, x, problems, classes)


def _to_the_minimum(entropy: type[Entropy], x: Tensor, problems: Sequence[Problem], classes: int) -> Tensor:
    """Weights and biases (P, C, D + 1) at each problem's minimum."""
    mean, products = moments(x)
    spread, turn = torch.linalg.eigh(products / len(x))
    mean, turn = mean.to(x.dtype), turn.to(x.dtype)
    turned = (x - mean) @ turn

    def solve(some: Sequence[Problem], start: Tensor) -> Tensor:
        shrinking = 1 / (len(x) * spread.new_tensor([each.cost for each in some]))[:, None]
        curvature = torch.cat(
            [spread.clamp_min(0) * USUAL_CURVATURE + shrinking, shrinking * 0 + USUAL_CURVATURE], 1
        )
        scales = curvature.rsqrt().to(x.dtype)[:, None]  # (P, 1, D + 1)
        objective = _scaled(entropy(turned, some, classes, "squared"), scales)
        points = minimise(objective, start.flatten(1), CONVERGED).view_as(start) * scales
        weights = points[..., :-1] @ turn.T
        return torch.cat([weights, (points[..., -1] - weights @ mean)[..., None]], dim=-1)

    return _in_parts(solve, x, problems, classes)


def _scaled(objective: Objective, scales: Tensor) -> Objective:
    """The objective by coordinates that are multiplied by each problem's scales, (P, 1, D + 1)."""

    def scaled(points: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        scale = scales[problems]
        shape = (len(points), -1, scale.shape[-1])
        losses, gradient = objective((points.view(shape) * scale).flatten(1), problems)
        return losses, (gradient.view(shape) * scale).flatten(1)

    return scaled


def _in_parts(
    solve: Callable[[Sequence[Problem], Tensor], Tensor], x: Tensor, problems: Sequence[Problem], classes: int
) -> Tensor:
    """What `solve` makes of as many problems at a time as memory is allowed for, from W = 0."""
    shape = (classes, x.shape[1] + 1)
    each = 2 * MAX_ITERATIONS * shape[0] * shape[1] * x.element_size()
    if each > MOST_BYTES_EACH:
        raise DataError(
            f"a linear probe of {classes} classes on {x.shape[1]} numbers needs {each / 2**30:.0f} GiB of memory, and "
            f"{MOST_BYTES_EACH >> 30} are allowed; merge classes, or leave this task out of `tasks`"
        )
    together = max(1, MOST_BYTES // each)
    parts = [problems[at : at + together] for at in range(0, len(problems), together)]
    return torch.cat([solve(part, x.new_zeros(len(part), *shape)) for part in parts])
