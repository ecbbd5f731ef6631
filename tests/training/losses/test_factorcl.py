"""FactorCL's bounds: equal to loops over all pairs, zero for a critic that knows nothing, and bounds indeed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.losses import critics, factorcl
from training.losses.factorcl import lower_bound, upper_bound


def slow_lower_bound(scores: Tensor) -> float:
    n = len(scores)
    together = sum(scores[i, i].item() for i in range(n)) / n
    among_all = sum(math.log(sum(math.exp(scores[i, j].item()) for j in range(n))) for i in range(n)) / n
    return together - among_all + math.log(n)


def slow_upper_bound(scores: Tensor) -> float:
    n = len(scores)
    together = sum(scores[i, i].item() for i in range(n)) / n
    return together - sum(scores[i, j].item() for i in range(n) for j in range(n)) / n**2


@pytest.mark.parametrize("size", [2, 5, 33])
def test_both_bounds_equal_loops_over_all_pairs(size: int) -> None:
    scores = torch.randn(size, size, dtype=torch.float64)
    assert lower_bound(scores).item() == pytest.approx(slow_lower_bound(scores), rel=1e-12)
    assert upper_bound(scores).item() == pytest.approx(slow_upper_bound(scores), rel=1e-12)


def test_a_critic_that_makes_no_difference_finds_no_information() -> None:
    constant = torch.full((7, 7), 3.0, dtype=torch.float64)
    assert lower_bound(constant).item() == pytest.approx(0, abs=1e-12)
    assert upper_bound(constant).item() == pytest.approx(0, abs=1e-12)


def test_the_lower_bound_never_exceeds_the_logarithm_of_the_batch_nor_the_upper_bound() -> None:
    sharp = 100 * torch.eye(8, dtype=torch.float64)
    assert lower_bound(sharp).item() == pytest.approx(math.log(8))
    for _ in range(20):
        scores = torch.randn(8, 8, dtype=torch.float64)
        assert lower_bound(scores) <= upper_bound(scores)  # Jensen: log of a mean, mean of logs


def test_the_loss_is_upper_bounds_less_lower_bounds() -> None:
    scores = [torch.randn(5, 5, dtype=torch.float64) for _ in range(6)]
    shared, shared_upper, unique_1, unique_2, conditional, conditional_upper = scores
    expected = (
        slow_upper_bound(shared_upper)
        + slow_upper_bound(conditional_upper)
        - sum(slow_lower_bound(each) for each in (shared, unique_1, unique_2, conditional))
    )
    assert factorcl(*scores).loss.item() == pytest.approx(expected, rel=1e-12)


def test_critics_follow_their_own_lower_bounds() -> None:
    one, two = torch.randn(5, 5, dtype=torch.float64), torch.randn(5, 5, dtype=torch.float64)
    assert critics(one, two).loss.item() == pytest.approx(-slow_lower_bound(one) - slow_lower_bound(two))


def test_the_bounds_of_gaussians_enclose_their_mutual_information() -> None:
    """With the best critic, the logarithm of the density ratio, and 0.3 as the true information."""
    torch.manual_seed(0)
    correlation = math.sqrt(1 - math.exp(-2 * 0.3))
    x = torch.randn(2000, dtype=torch.float64)
    y = correlation * x + math.sqrt(1 - correlation**2) * torch.randn_like(x)
    across = x[None, :] * y[:, None]
    squares = x[None, :].square() + y[:, None].square()
    scores = (correlation * across - correlation**2 * squares / 2) / (1 - correlation**2) + 0.3
    assert lower_bound(scores).item() == pytest.approx(0.3, abs=0.03)
    assert upper_bound(scores).item() > 0.3
