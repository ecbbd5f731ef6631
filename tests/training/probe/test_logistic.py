"""The solver finds the minimum of its objective; the search takes the decisions of the published protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from training.errors import DataError
from training.probe.linear import fit_probe, split_for_selection
from training.probe.logistic import COARSE_COSTS, fit, search_cost
from training.probe.scores import accuracy, macro_accuracy
from training.spec import Task


def blobs(n: int = 400, width: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    y = random.integers(0, classes, n)
    x = random.standard_normal((n, width)) + random.standard_normal((classes, width))[y]
    return torch.from_numpy(x), torch.from_numpy(y)


@pytest.mark.parametrize("cost", [0.5, 5.0])
def test_the_fit_is_the_minimum_of_cross_entropy_plus_the_unsquared_norm(cost: float) -> None:
    x, y = blobs()

    def objective(flat: np.ndarray) -> float:
        weight, bias = flat[:18].reshape(6, 3), flat[18:]
        logits = x.numpy() @ weight + bias
        log_sum = np.log(np.exp(logits).sum(1))
        return float((log_sum - logits[np.arange(len(y)), y]).mean() + np.linalg.norm(weight) / (2 * cost))

    probe = fit(x, y, 3, cost)
    ours = objective(np.concatenate([probe.weight.flatten().numpy(), probe.bias.numpy()]))
    best = minimize(objective, np.full(21, 0.01), method="L-BFGS-B", options={"maxiter": 5000}).fun
    assert ours == pytest.approx(best, abs=1e-4)


def test_a_small_cost_leaves_no_weights_and_a_large_one_many() -> None:
    x, y = blobs()
    assert fit(x, y, 3, 1e-4).weight.norm() < 1e-2
    assert fit(x, y, 3, 1e4).weight.norm() > 1


def test_the_search_asks_seven_decades_then_halves_twentynine_points_to_one() -> None:
    asked: list[float] = []

    def score(cost: float) -> float:
        asked.append(cost)
        return -abs(np.log10(cost) - 0.6)

    best = search_cost(score)
    assert asked[:7] == list(COARSE_COSTS)
    assert asked[7:9] == pytest.approx(
        [0.1, 10], rel=1e-5
    )  # points 7 and 21 of 29; point 14 is known already
    assert len(asked) == len(set(asked)) <= 7 + 13
    assert np.log10(best) == pytest.approx(0.6, abs=4 / 28)


def test_on_ties_the_smallest_coarse_cost_wins() -> None:
    assert search_cost(lambda cost: 0.5, fine=False) == COARSE_COSTS[0]


def test_macro_accuracy_counts_each_class_the_same() -> None:
    truth = torch.tensor([0] * 9 + [1])
    always_zero = torch.zeros(10, dtype=torch.long)
    assert accuracy(always_zero, truth) == 0.9
    assert macro_accuracy(always_zero, truth) == 0.5


def test_the_reference_split_does_not_depend_on_the_seed_and_the_strict_one_does() -> None:
    y = torch.arange(200) % 4
    assert torch.equal(split_for_selection(y, "reference", 1)[0], split_for_selection(y, "reference", 2)[0])
    assert not torch.equal(split_for_selection(y, "strict", 1)[0], split_for_selection(y, "strict", 2)[0])
    fitted, selected = split_for_selection(y, "strict", 1)
    assert len(fitted) == 120
    assert not set(fitted.tolist()) & set(selected.tolist())
    assert y[fitted].bincount().tolist() == [30] * 4


def test_a_class_without_samples_is_named() -> None:
    x, y = blobs()
    with pytest.raises(DataError, match="task colour: no training sample has class 3"):
        fit_probe(x, y, Task(name="colour", family="other", classes=4), "strict", 1)
