"""The entropy's estimate equals its equation, and following its gradient drives embeddings apart."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.losses import entropy, infmasking


def slow_score(z: Tensor) -> Tensor:
    """Entry by entry, with the inverse as a matrix."""
    n = len(z)
    cosine = [[(z[i] @ z[j]).item() for j in range(n)] for i in range(n)]
    width = max(0.1, statistics.median_low([1 - each for row in cosine for each in row]))
    kernel = torch.tensor([[each / width for each in row] for row in cosine], dtype=torch.float64).exp()
    inverse = (kernel + 0.01 * torch.eye(n, dtype=torch.float64)).inverse()
    slope = torch.stack([kernel[i].sum() * z[i] / width for i in range(n)])
    return -inverse @ slope


@pytest.mark.parametrize("size", [2, 7, 16])
def test_value_and_gradient_equal_the_equation(size: int) -> None:
    torch.manual_seed(size)
    z = normalize(torch.randn(size, 6, dtype=torch.float64), dim=-1).requires_grad_()
    value = entropy(z)
    (gradient,) = torch.autograd.grad(value, z)

    score = slow_score(z.detach())
    through = z / z.norm(dim=-1, keepdim=True)
    expected = -(score * through).sum() / size
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    assert torch.allclose(gradient, torch.autograd.grad(expected, z)[0], atol=1e-10)


def test_following_it_drives_embeddings_apart() -> None:
    torch.manual_seed(0)
    z = (
        torch.ones(12, 4, dtype=torch.float64) + 0.3 * torch.randn(12, 4, dtype=torch.float64)
    ).requires_grad_()

    def closeness() -> float:
        unit = normalize(z.detach(), dim=-1)
        return (unit @ unit.T).mean().item()

    before = closeness()
    for _ in range(20):
        (gradient,) = torch.autograd.grad(entropy(z), z)
        with torch.no_grad():
            z += 0.1 * gradient
    assert closeness() < before - 0.1


def test_equal_embeddings_give_a_finite_gradient_in_float32() -> None:
    z = torch.ones(64, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(entropy(z), z)
    assert gradient.isfinite().all()


def test_the_penalty_is_taken_off_the_loss_and_is_off_by_default() -> None:
    torch.manual_seed(0)
    z1, z2 = ([torch.randn(6, 4, dtype=torch.float64) for _ in range(3)] for _ in range(2))
    masked = torch.randn(3, 6, 4, dtype=torch.float64)
    options = {"temperature": 0.1, "mask_lambda": 1.0, "epoch": 0, "max_epochs": 2}
    plain, spread = (
        infmasking(z1, z2, masked, masked, **options, **extra) for extra in ({}, {"entropy_penalty": 0.5})
    )
    mean = sum(entropy(each).item() for each in (*z1, *z2)) / 6
    assert "entropy" not in plain.terms
    assert spread.terms["entropy"].item() == pytest.approx(mean)
    assert spread.loss.item() == pytest.approx(plain.loss.item() - 0.5 * mean)
