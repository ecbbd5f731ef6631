"""What a probe's answers are worth. n samples, K classes, labels or outputs, B resamples.

A score is a function of the samples' weights: ones for the value itself, and how often a resample drew each sample for
its bootstrap interval. So each is written once, (B, n) in and (B,) out. What a score is not defined for, like the
ROC-AUC of samples of one class, is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from training.spec import Task

Score = Callable[[Tensor], Tensor]
"""Weights (B, n), float64 → values (B,), float64."""
RESAMPLES = 1_000
MOST_WEIGHTS = 1 << 22
"""That are held at a time."""
MOST_CLASSES = 20
"""Above which a ROC-AUC is given without an interval, and no confusion matrix: they would take too long to make and read."""


class Estimate(NamedTuple):
    value: float
    interval: tuple[float, float] | None
    """95 % of the bootstrap's resamples of the test samples lie within; none where the value says nothing of chance."""


def estimates(task: Task, outputs: Tensor, truth: Tensor, seed: int) -> dict[str, Estimate]:
    """All scores of a task, by metric. `outputs` (n, K) are logits or values; `truth` is as in `Split.labels`.

    The same seed draws the same resamples on any device.
    """
    found, n = scores(task, outputs, truth), len(truth)
    ones = torch.ones(1, n, dtype=torch.float64, device=truth.device)
    drawn: dict[str, list[Tensor]] = {
        metric: [] for metric in found if metric != "roc_auc" or task.classes <= MOST_CLASSES
    }
    for weights in resamples(n, seed, truth.device):
        for metric, values in drawn.items():
            values.append(found[metric](weights))
    return {
        metric: Estimate(float(score(ones)), _interval(drawn.get(metric, [])))
        for metric, score in found.items()
    }


def scores(task: Task, outputs: Tensor, truth: Tensor) -> dict[str, Score]:
    match task.type:
        case "class":
            return _of_classes(outputs, truth)
        case "multilabel":
            return _of_labels(outputs > 0, truth > 0.5)
        case "regression":
            return _of_values(outputs.double(), truth.double())


def value_of(task: Task, metric: str, outputs: Tensor, truth: Tensor) -> float:
    """One score by itself."""
    return float(
        scores(task, outputs, truth)[metric](
            torch.ones(1, len(truth), dtype=torch.float64, device=truth.device)
        )
    )


def chance(task: Task, metric: str) -> float | None:
    """What guessing would give, where that is known without looking at the samples."""
    if task.type == "multilabel":
        return None
    known = {
        "macro_accuracy": task.chance,
        "top5": min(5, task.classes) / task.classes,
        "roc_auc": 0.5,
        "r2": 0.0,
        "pearson": 0.0,
    }
    return known.get(metric)


def resamples(n: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """How often each sample is drawn when n are drawn with replacement, RESAMPLES times: (B, n) at a time."""
    random = torch.Generator().manual_seed(seed)
    part = max(1, MOST_WEIGHTS // n)
    for at in range(0, RESAMPLES, part):
        count = min(part, RESAMPLES - at)
        rows = torch.randint(n, (count, n), generator=random).to(device)
        weights = torch.zeros(count, n, dtype=torch.float64, device=device)
        yield weights.scatter_add_(
            1, rows, torch.ones((1, 1), dtype=torch.float64, device=device).expand(count, n)
        )


def _interval(parts: list[Tensor]) -> tuple[float, float] | None:
    values = torch.cat(parts) if parts else torch.empty(0)
    values = values[values.isfinite()]
    if not len(values):
        return None
    low, high = torch.quantile(values, values.new_tensor([0.025, 0.975])).tolist()
    return low, high


def accuracy(predicted: Tensor, truth: Tensor) -> float:
    return float((predicted == truth).double().mean())


def macro_accuracy(predicted: Tensor, truth: Tensor) -> float:
    """Mean over the classes that occur of the share of each that is found. Guessing scores 1 / classes.

    The published tables call this top-1 accuracy.
    """
    there = truth.bincount()
    found = truth[predicted == truth].bincount(minlength=len(there))
    return float((found.double() / there)[there > 0].mean())


def macro_f1(predicted: Tensor, truth: Tensor) -> float:
    """Mean over the labels that occur. Both are bool (n, K)."""
    return float(
        _f1_macro(predicted, truth)(torch.ones(1, len(truth), dtype=torch.float64, device=truth.device))
    )


def confusion(predicted: Tensor, truth: Tensor, classes: int) -> list[list[float]]:
    """Samples of each class (rows) that were taken for each class (columns)."""
    cells = (truth * classes + predicted).bincount(minlength=classes * classes)
    counts: list[list[float]] = cells.view(classes, classes).tolist()
    return counts


def _of_classes(logits: Tensor, truth: Tensor) -> dict[str, Score]:
    classes = logits.shape[1]
    predicted = logits.argmax(1)
    found = {
        "macro_accuracy": _macro_share(predicted == truth, truth),
        "accuracy": _share(predicted == truth),
    }
    if classes > 2:
        best = logits.topk(min(classes, 5), dim=1).indices
        found["top5"] = _macro_share((best == truth[:, None]).any(1), truth)
    return {**found, "roc_auc": _roc_auc(logits, truth)}


def _of_labels(predicted: Tensor, truth: Tensor) -> dict[str, Score]:
    return {
        "f1_macro": _f1_macro(predicted, truth),
        "f1_weighted": _f1_weighted(predicted, truth),
        "macro_accuracy": _share((predicted == truth).double().mean(1)),
        "subset_accuracy": _share((predicted == truth).all(1)),
    }


def _of_values(values: Tensor, truth: Tensor) -> dict[str, Score]:
    mean = truth.mean(0)
    values, truth = values - mean, truth - mean  # for precision; the scores do not depend on it
    return {
        "mse": _share((values - truth).square().mean(1)),
        "r2": lambda weights: _r2(weights, values, truth),
        "pearson": lambda weights: _pearson(weights, values, truth),
    }


def _share(right: Tensor) -> Score:
    """Weighted mean of (n,)."""
    column = right.double()
    return lambda weights: (weights @ column) / weights.sum(1)


def _macro_share(right: Tensor, truth: Tensor) -> Score:
    """Of each class that occurs the weighted mean of `right`, and the mean of these."""
    # Samples in the order of their classes: a class' sum is a difference of two cumulated ones.
    order = truth.argsort(stable=True)
    ends = pad(truth.bincount().cumsum(0), (1, 0))
    right = right[order].double()

    def sums(weights: Tensor) -> Tensor:
        return pad(weights.cumsum(1), (1, 0))[:, ends].diff(dim=1)

    def score(weights: Tensor) -> Tensor:
        ordered = weights[:, order]
        return (sums(ordered * right) / sums(ordered)).nanmean(1)

    return score


def _roc_auc(logits: Tensor, truth: Tensor) -> Score:
    """Mean over the classes of the chance that a sample of the class is given a higher probability of it than another
    sample is; ties count half. Only classes count of which there are samples, and others."""
    probabilities = logits.double().log_softmax(1)
    told = [1] if logits.shape[1] == 2 else range(logits.shape[1])  # of two classes, both tell the same
    each = [_auc(probabilities[:, label], truth == label) for label in told]
    return lambda weights: torch.stack([auc(weights) for auc in each], dim=1).nanmean(1)


def _auc(probability: Tensor, positive: Tensor) -> Score:
    order = probability.argsort()
    positive = positive[order]
    _, ties = torch.unique_consecutive(probability[order], return_counts=True)
    last = ties.cumsum(0)
    # How many samples stand lower than the ties of each positive, and how many at most as high.
    lower, at_most = (each.repeat_interleave(ties)[positive] for each in (last - ties, last))

    def score(weights: Tensor) -> Tensor:
        ordered = weights[:, order]
        others = pad(
            (ordered * ~positive).cumsum(1), (1, 0)
        )  # (B, n + 1): weight of negatives up to each place
        own = ordered[:, positive]
        wins = own * (others[:, lower] + others[:, at_most]) / 2
        return wins.sum(1) / (own.sum(1) * others[:, -1])

    return score


def _f1_parts(predicted: Tensor, truth: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """F1 of each label and how much of it there is, (B, K)."""
    both, there, said = (weights @ each.double() for each in (predicted & truth, truth, predicted))
    return 2 * both / (there + said), there


def _f1_macro(predicted: Tensor, truth: Tensor) -> Score:
    def score(weights: Tensor) -> Tensor:
        f1, there = _f1_parts(predicted, truth, weights)
        return f1.where(there > 0, math.nan).nanmean(1)

    return score


def _f1_weighted(predicted: Tensor, truth: Tensor) -> Score:
    def score(weights: Tensor) -> Tensor:
        f1, there = _f1_parts(predicted, truth, weights)
        return (f1.nan_to_num() * there).sum(1) / there.sum(1)

    return score


def _r2(weights: Tensor, values: Tensor, truth: Tensor) -> Tensor:
    """Mean over the outputs that vary."""
    missed = weights @ (values - truth).square()
    spread = _variance(weights, truth)
    return (1 - missed / weights.sum(1, keepdim=True) / spread).where(spread > 0, math.nan).nanmean(1)


def _pearson(weights: Tensor, values: Tensor, truth: Tensor) -> Tensor:
    """Mean over the outputs that vary; an answer that is always the same correlates with none."""
    total = weights.sum(1, keepdim=True)
    covariance = weights @ (values * truth) / total - (weights @ values) * (weights @ truth) / total.square()
    spread, told = _variance(weights, truth), _variance(weights, values)
    correlation = (covariance / (spread * told).sqrt()).where(told > 0, 0.0)
    return correlation.where(spread > 0, math.nan).nanmean(1)


def _variance(weights: Tensor, values: Tensor) -> Tensor:
    """Of each output, (B, K); exactly 0 when it does not vary."""
    total = weights.sum(1, keepdim=True)
    varies = (values != values[:1]).any(0)
    mean = weights @ values / total
    return (weights @ values.square() / total - mean.square()).clamp_min(0) * varies
