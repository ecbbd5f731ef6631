"""Many problems at once go the ways that torch's solver goes with each alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.probe.lbfgs import MAX_ITERATIONS, Objective, minimise


def quadratics(count: int, width: int, *, condition: float) -> tuple[Objective, Tensor]:
    """½ xᵀ A x - bᵀ x, each with its own A and b; and the minima (P, K)."""
    random = torch.Generator().manual_seed(0)
    turns, _ = torch.linalg.qr(torch.randn(count, width, width, generator=random, dtype=torch.float64))
    curvatures = (
        torch.logspace(0, condition, width, dtype=torch.float64) * torch.arange(1, count + 1)[:, None]
    )
    matrices = turns @ torch.diag_embed(curvatures) @ turns.mT
    offsets = torch.randn(count, width, generator=random, dtype=torch.float64)

    def objective(points: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        pull = (matrices[problems] @ points[..., None])[..., 0]
        return (points * (pull / 2 - offsets[problems])).sum(1), pull - offsets[problems]

    return objective, torch.linalg.solve(matrices, offsets)


def rosenbrock(points: Tensor, _problems: Tensor) -> tuple[Tensor, Tensor]:
    x = points.detach().requires_grad_()
    losses = (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)
    (gradient,) = torch.autograd.grad(losses.sum(), x)
    return losses.detach(), gradient


def creased_or_curved(points: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
    """Even problems are wavy with creases, where no line search finds what it looks for: it ends on a point that it tried
    before the last, or where the loss curves down. Odd ones are Rosenbrock's."""
    width = points.shape[1]
    slopes = torch.linspace(0.3, 3, width, dtype=points.dtype)
    tilt = points + 0.5 * points.roll(1, dims=1) - torch.linspace(-1, 1, width, dtype=points.dtype)
    by_tilt = slopes * tilt.sign()
    losses, gradient = rosenbrock(points, problems)
    even = problems % 2 == 0
    return (
        torch.where(even, (slopes * tilt.abs()).sum(1) + 0.3 * (2 * points).sin().sum(1), losses),
        torch.where(
            even[:, None], by_tilt + 0.5 * by_tilt.roll(-1, dims=1) + 0.6 * (2 * points).cos(), gradient
        ),
    )


def alone(objective: Objective, start: Tensor, problem: int) -> Tensor:
    """What torch's solver makes of one problem."""
    point = start[problem].clone().requires_grad_()
    solver = torch.optim.LBFGS([point], lr=1, max_iter=100, history_size=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        losses, gradient = objective(point.detach()[None], torch.tensor([problem]))
        point.grad = gradient[0]
        return losses[0]

    solver.step(closure)
    return point.detach()


def test_the_minima_of_well_conditioned_problems_are_found() -> None:
    objective, minima = quadratics(5, 8, condition=2)
    found = minimise(objective, torch.zeros(5, 8, dtype=torch.float64))
    assert torch.allclose(found, minima, rtol=0, atol=2e-4)


@pytest.mark.parametrize("condition", [1.0, 4.0])
def test_each_problem_ends_where_torch_ends_with_it_alone(condition: float) -> None:
    objective, _ = quadratics(7, 12, condition=condition)
    start = torch.zeros(7, 12, dtype=torch.float64)
    found = minimise(objective, start)
    for problem in range(7):
        expected = alone(objective, start, problem)
        assert torch.allclose(found[problem], expected, rtol=1e-8, atol=1e-11)


def test_problems_with_many_failed_tries_go_their_own_ways_beside_easy_ones() -> None:
    """Rosenbrock's valley makes line searches fail and zoom; the starts make each problem do so at other times."""
    random = torch.Generator().manual_seed(1)
    start = 2 * torch.randn(6, 5, generator=random, dtype=torch.float64)
    start[2] = 1.0  # at the minimum already
    found = minimise(rosenbrock, start)
    for problem in range(6):
        assert torch.allclose(found[problem], alone(rosenbrock, start, problem), rtol=1e-6, atol=1e-7)
    assert torch.equal(found[2], start[2])


def test_where_line_searches_fail_each_problem_goes_the_way_that_torch_goes_with_it_alone() -> None:
    """For ninety tries, whose losses are compared: in the end, rounding errors can make other ways."""
    random = torch.Generator().manual_seed(2)
    start = torch.randn(40, 6, generator=random, dtype=torch.float64)
    way: dict[int, list[float]] = {problem: [] for problem in range(40)}

    def recording(points: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        losses, gradient = creased_or_curved(points, problems)
        for problem, loss in zip(problems.tolist(), losses.tolist(), strict=True):
            way[problem].append(loss)
        return losses, gradient

    minimise(recording, start)
    together = {problem: losses[:90] for problem, losses in way.items()}
    way = {problem: [] for problem in range(40)}
    for problem in range(40):
        alone(recording, start, problem)
        assert together[problem] == pytest.approx(way[problem][:90], rel=1e-5)


def test_what_is_done_is_not_evaluated_again() -> None:
    objective, _ = quadratics(4, 10, condition=3)
    start = torch.zeros(4, 10, dtype=torch.float64)
    start[1:] = minimise(objective, start)[1:]  # three of four are done
    sizes: list[int] = []

    def counting(points: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(points))
        return objective(points, problems)

    minimise(counting, start)
    assert sizes[0] == 4
    assert sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) <= MAX_ITERATIONS * 1.25 + 2


def test_no_problems_are_solved_at_once() -> None:
    assert minimise(rosenbrock, torch.zeros(0, 3)).shape == (0, 3)


def test_a_loss_that_is_not_finite_ends_the_way_and_leaves_the_others_alone() -> None:
    objective, minima = quadratics(3, 6, condition=1)

    def broken(points: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        losses, gradient = objective(points, problems)
        return torch.where(problems == 1, torch.nan, losses), gradient

    found = minimise(broken, torch.zeros(3, 6, dtype=torch.float64))
    assert torch.allclose(found[[0, 2]], minima[[0, 2]], rtol=0, atol=2e-4)
