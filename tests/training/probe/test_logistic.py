"""Fits are the minima of their objectives, go the ways of the sequential protocol, and agree with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from tests.training.probe import sequential
from tests.training.probe.features import SETS, blobs, power_law
from training.errors import DataError
from training.probe import entropy, logistic
from training.probe.entropy import Problem
from training.probe.logistic import fit, fit_classes, fit_labels
from training.probe.search import COSTS


@pytest.mark.parametrize("cost", [0.5, 5.0])
def test_the_fit_is_the_minimum_of_cross_entropy_plus_the_unsquared_norm(cost: float) -> None:
    x, y, _ = blobs()

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
    x, y, _ = blobs()
    assert fit(x, y, 3, 1e-4).weight.norm() < 1e-2
    assert fit(x, y, 3, 1e4).weight.norm() > 1


@pytest.mark.parametrize("name", SETS)
def test_fits_side_by_side_equal_fits_one_after_the_other(name: str) -> None:
    """In float64, to 1e-8 of the weights where a fit converges. Where it is cut off after 100 iterations the ways are the
    same but for rounding, which so many steps on ill-conditioned features can make 1e-6 of the weights."""
    x, y, classes = SETS[name]
    probes = fit_classes(x, [Problem(y, cost) for cost in COSTS], classes)
    for cost, probe in zip(COSTS, probes, strict=True):
        expected, evaluations = sequential.fit_counting(x, y, classes, cost)
        cut_off = evaluations > 100
        size = max(float(expected.weight.norm()), 1.0)
        assert probe.strength == cost
        assert float((probe.weight - expected.weight).norm()) <= (1e-6 if cut_off else 1e-8) * size
        assert float((probe.bias - expected.bias).norm()) <= (1e-6 if cut_off else 1e-8) * size


def test_in_float32_side_by_side_is_as_far_from_exact_as_one_after_the_other() -> None:
    x, y, classes = power_law(power=2.0, classes=5)
    problems = [Problem(y, cost) for cost in (1e2, 1e6)]
    for ours, (_, cost) in zip(fit_classes(x.float(), problems, classes), problems, strict=True):
        exact = sequential.fit(x, y, classes, cost).weight
        theirs = sequential.fit(x.float(), y, classes, cost).weight
        assert ours.weight.dtype == torch.float32
        assert (ours.weight - exact).norm() < 10 * (theirs - exact).norm() + 1e-4 * exact.norm()


def test_tasks_with_labels_of_their_own_are_fitted_together() -> None:
    x, y, classes = blobs()
    other = (y + (x[:, 0] > 0)) % classes
    together = fit_classes(x, [Problem(y, 1.0), Problem(other, 10.0), Problem(y, 100.0)], classes)
    for probe, (own, cost) in zip(together, ((y, 1.0), (other, 10.0), (y, 100.0)), strict=True):
        alone = fit(x, own, classes, cost)
        assert torch.allclose(probe.weight, alone.weight, rtol=1e-7, atol=1e-9)


def test_samples_and_problems_taken_in_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, classes = blobs()
    problems = [Problem(y, cost) for cost in (0.1, 1.0, 10.0)]
    whole = fit_classes(x, problems, classes)
    monkeypatch.setattr(entropy, "MOST_LOGITS", 300)
    monkeypatch.setattr(logistic, "MOST_BYTES", 1)
    parts = fit_classes(x, problems, classes)
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one.weight, other.weight, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("cost", [1e-2, 1.0, 1e2])
def test_a_squared_penalty_is_scikit_learn_s(cost: float) -> None:
    x, y, classes = power_law(n=500, power=0.5)
    theirs = LogisticRegression(C=cost, tol=1e-9, max_iter=5000).fit(x.numpy(), y.numpy())
    ours = fit(x, y, classes, cost, "squared")
    # Shifting all classes' weights alike changes no probability; theirs sum to zero as ours do.
    assert np.allclose(ours.weight.T.numpy(), theirs.coef_, rtol=1e-3, atol=1e-4)
    agree = (ours(x).argmax(1).numpy() == theirs.predict(x.numpy())).mean()
    assert agree == 1.0
    assert (ours(x).argmax(1) == y).double().mean().item() == pytest.approx(
        theirs.score(x.numpy(), y.numpy()), abs=1e-4
    )


def test_labels_are_those_of_scikit_learn_one_at_a_time() -> None:
    x, _, _ = power_law(n=600, width=12, power=0.7)
    random = torch.Generator().manual_seed(0)
    leaning = x @ torch.randn(12, 5, generator=random, dtype=torch.float64) * 3
    labels = leaning + torch.randn(600, 5, generator=random, dtype=torch.float64) > torch.arange(5)
    unseen, _, _ = power_law(n=400, width=12, power=0.7, seed=9)
    for cost, probe in zip((0.1, 10.0), fit_labels(x, labels, (0.1, 10.0)), strict=True):
        for label in range(5):
            theirs = LogisticRegression(C=cost, tol=1e-9, max_iter=5000)
            theirs.fit(x.numpy(), labels[:, label].numpy())
            assert np.allclose(probe.weight[:, label].numpy(), theirs.coef_[0], rtol=1e-3, atol=1e-4)
            same = (probe(unseen)[:, label] > 0).numpy() == theirs.predict(unseen.numpy())
            assert same.mean() >= 1 - 1e-4


def test_a_label_that_no_sample_has_is_never_predicted() -> None:
    x, _, _ = blobs()
    labels = torch.stack([x[:, 0] > 0, torch.zeros(len(x), dtype=torch.bool)], dim=1)
    for probe in fit_labels(x, labels, COSTS):
        assert not (probe(x)[:, 1] > 0).any()


def test_a_probe_too_large_for_the_memory_that_is_allowed_is_refused_before_it_takes_any() -> None:
    x, y = torch.zeros(4, 512), torch.tensor([0, 1, 2, 99_999])
    with pytest.raises(DataError, match="a linear probe of 100000 classes on 512 numbers needs 38 GiB"):
        fit(x, y, 100_000, 1.0)
