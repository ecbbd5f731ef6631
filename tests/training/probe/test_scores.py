"""Scores are those of scikit-learn and scipy; their intervals hold what they should, and the same seed gives the same."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn import metrics
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc

from training.probe.scores import (
    accuracy,
    chance,
    confusion,
    estimates,
    macro_accuracy,
    macro_f1,
    resamples,
    scores,
    value_of,
)
from training.spec import Task
from training.spec.train import METRICS


def task(classes: int, kind: str = "class") -> Task:
    return Task.model_validate({"name": "kind", "family": "other", "classes": classes, "type": kind})


def guesses(n: int, classes: int, seed: int = 0, *, skill: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits (n, K) that are right more often than not, and the classes; not all as frequent."""
    random = np.random.default_rng(seed)
    truth = random.choice(classes, n, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    logits = random.standard_normal((n, classes)) + skill * np.eye(classes)[truth]
    return torch.from_numpy(logits), torch.from_numpy(truth)


def values(kind: Task, outputs: Tensor, truth: Tensor) -> dict[str, float]:
    return {metric: value_of(kind, metric, outputs, truth) for metric in scores(kind, outputs, truth)}


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scores_of_classes_are_those_of_the_libraries(classes: int) -> None:
    logits, truth = guesses(500, classes)
    ours, predicted = values(task(classes), logits, truth), logits.argmax(1)
    assert ours["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert ours["macro_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    assert ours["roc_auc"] == pytest.approx(
        float(multiclass_auroc(logits.softmax(1), truth, classes, average="macro")), abs=1e-6
    )
    if classes > 2:
        top5 = multiclass_accuracy(logits, truth, classes, average="macro", top_k=min(5, classes))
        assert ours["top5"] == pytest.approx(float(top5), abs=1e-6)
    else:
        assert "top5" not in ours


def test_ties_count_half_in_the_roc_auc() -> None:
    logits = torch.tensor([[0.0, 1], [0, 1], [0, 2], [0, 0], [0, 1]])
    truth = torch.tensor([0, 1, 1, 0, 0])
    expected = metrics.roc_auc_score(truth, logits[:, 1])
    assert values(task(2), logits, truth)["roc_auc"] == pytest.approx(expected)


def test_scores_of_labels_are_those_of_scikit_learn() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.rand(300, 6, generator=random) < torch.linspace(0.05, 0.7, 6)
    logits = torch.randn(300, 6, generator=random) + truth.float() - 0.5
    ours = values(task(6, "multilabel"), logits, truth.float())
    predicted, truth = (logits > 0).numpy(), truth.numpy()
    assert ours["f1_macro"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert ours["f1_weighted"] == pytest.approx(metrics.f1_score(truth, predicted, average="weighted"))
    assert ours["subset_accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert ours["macro_accuracy"] == pytest.approx((truth == predicted).mean())


def test_scores_of_numbers_are_those_of_scikit_learn_and_scipy() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.randn(200, 4, generator=random) * torch.tensor([1.0, 0.1, 10, 1]) + 100
    guessed = truth + torch.randn(200, 4, generator=random)
    ours = values(task(4, "regression"), guessed, truth)
    y, p = truth.double().numpy(), guessed.double().numpy()
    assert ours["mse"] == pytest.approx(metrics.mean_squared_error(y, p))
    assert ours["r2"] == pytest.approx(metrics.r2_score(y, p))
    assert ours["pearson"] == pytest.approx(np.mean([pearsonr(y[:, at], p[:, at])[0] for at in range(4)]))


def test_classes_that_the_test_samples_lack_are_left_out() -> None:
    logits, truth = guesses(300, 5)
    some = truth < 3
    ours = values(task(5), logits[some], truth[some])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of predicted classes that do not occur
        assert ours["macro_accuracy"] == pytest.approx(
            metrics.balanced_accuracy_score(truth[some], logits[some].argmax(1))
        )
    aucs = [
        metrics.roc_auc_score(truth[some] == label, logits[some].softmax(1)[:, label]) for label in range(3)
    ]
    assert ours["roc_auc"] == pytest.approx(np.mean(aucs))


def test_samples_of_one_class_have_no_roc_auc_and_an_output_that_does_not_vary_no_correlation() -> None:
    logits, truth = guesses(50, 3)
    alone = estimates(task(3), logits, torch.zeros_like(truth), seed=0)
    assert math.isnan(alone["roc_auc"].value)
    assert alone["roc_auc"].interval is None
    assert not math.isnan(alone["macro_accuracy"].value)
    flat = torch.ones(50, 2)
    ours = values(task(2, "regression"), logits[:, :2], flat)
    assert math.isnan(ours["r2"])
    assert math.isnan(ours["pearson"])
    assert values(task(2, "regression"), flat, logits[:, :2])["pearson"] == 0


def test_a_label_that_no_test_sample_has_is_left_out_of_the_mean() -> None:
    truth = torch.tensor([[1.0, 0], [0, 0], [1, 0], [0, 0]])
    perfect = truth - 0.5
    assert values(task(2, "multilabel"), perfect, truth)["f1_macro"] == 1
    said = perfect.clone()
    said[:, 1] = 1
    assert values(task(2, "multilabel"), said, truth)["f1_macro"] == 1
    assert values(task(2, "multilabel"), said, truth)["macro_accuracy"] == 0.5
    assert macro_f1(perfect > 0, truth > 0.5) == 1


def test_macro_accuracy_counts_each_class_the_same() -> None:
    truth = torch.tensor([0] * 9 + [1])
    always_zero = torch.zeros(10, dtype=torch.long)
    assert accuracy(always_zero, truth) == 0.9
    assert macro_accuracy(always_zero, truth) == 0.5


def test_a_confusion_matrix_has_true_classes_in_rows() -> None:
    truth, predicted = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1])
    assert confusion(predicted, truth, 3) == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize(("kind", "classes"), [("class", 4), ("multilabel", 4), ("regression", 4)])
def test_a_score_of_a_resample_is_the_score_of_the_samples_that_were_drawn(kind: str, classes: int) -> None:
    """Weights instead of copies: both give the same."""
    logits, classes_of = guesses(60, classes)
    truth = {
        "class": classes_of,
        "multilabel": (
            logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)) > 0
        ).float(),
        "regression": logits * 0.7 + 0.1 * torch.arange(classes),
    }[kind]
    found = scores(task(classes, kind), logits, truth)
    weights = next(iter(resamples(60, 5, torch.device("cpu"))))[:20]
    for metric, score in found.items():
        resampled = score(weights)
        for at in range(20):
            rows = torch.arange(60).repeat_interleave(weights[at].long())
            expected = value_of(task(classes, kind), metric, logits[rows], truth[rows])
            assert float(resampled[at]) == pytest.approx(expected, abs=1e-9), metric


def test_resamples_draw_as_many_samples_as_there_are() -> None:
    drawn = torch.cat(list(resamples(37, 1, torch.device("cpu"))))
    assert drawn.shape == (1000, 37)
    assert (drawn.sum(1) == 37).all()
    assert drawn.mean(0).std() < 0.1


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly_the_same() -> None:
    logits, truth = guesses(400, 3)
    first, same, other = (estimates(task(3), logits, truth, seed)["accuracy"] for seed in (1, 1, 2))
    assert first == same
    assert first.interval is not None
    assert other.interval is not None
    assert first.interval != other.interval
    assert first.interval == pytest.approx(other.interval, abs=0.02)


def test_the_interval_of_a_share_is_that_of_the_normal_approximation() -> None:
    logits, truth = guesses(1000, 3)
    value, interval = estimates(task(3), logits, truth, seed=0)["accuracy"]
    half = 1.96 * math.sqrt(value * (1 - value) / 1000)
    assert interval == pytest.approx((value - half, value + half), abs=0.006)


def test_intervals_hold_the_true_accuracy_about_as_often_as_they_say() -> None:
    everything, classes = guesses(20_000, 3)
    true_value = accuracy(everything.argmax(1), classes)
    held = 0
    for at in range(60):
        some = slice(at * 300, at * 300 + 300)
        low, high = estimates(task(3), everything[some], classes[some], seed=at)["accuracy"].interval or (
            0,
            0,
        )
        held += low <= true_value <= high
    assert 50 <= held <= 60


def test_every_metric_that_a_spec_can_name_is_measured() -> None:
    logits, truth = guesses(40, 3)
    assert tuple(scores(task(3), logits, truth)) == METRICS["class"]
    assert tuple(scores(task(3, "multilabel"), logits, logits)) == METRICS["multilabel"]
    assert tuple(scores(task(3, "regression"), logits, logits)) == METRICS["regression"]


def test_chance_is_told_where_it_is_known() -> None:
    assert chance(task(10), "macro_accuracy") == 0.1
    assert chance(task(10), "top5") == 0.5
    assert chance(task(3), "top5") == 1
    assert chance(task(3), "roc_auc") == 0.5
    assert chance(task(3), "accuracy") is None
    assert chance(task(3, "multilabel"), "macro_accuracy") is None
    assert chance(task(3, "regression"), "r2") == 0
