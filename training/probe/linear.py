"""A linear probe of one task: choose the cost on a held-out part of the training data, fit on all of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.model_selection import StratifiedShuffleSplit
from torch import Tensor

from training.errors import DataError
from training.probe.logistic import LogisticRegression, fit, search_cost
from training.probe.scores import macro_accuracy
from training.spec import Protocol, Task

REFERENCE_SPLIT_SEED = 48


def split_for_selection(y: Tensor, protocol: Protocol, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to fit on (60 %) and to choose the cost by (40 %), with equal shares of each class.

    Protocol `reference` always draws the published split; `strict` draws it by the probe's seed.
    """
    random_state = REFERENCE_SPLIT_SEED if protocol == "reference" else seed
    splitter = StratifiedShuffleSplit(n_splits=1, train_size=0.6, random_state=random_state)
    fitted, selected = next(splitter.split(np.zeros(len(y)), y.cpu().numpy()))
    return torch.from_numpy(fitted).to(y.device), torch.from_numpy(selected).to(y.device)


def fit_probe(
    x: Tensor, y: Tensor, task: Task, protocol: Protocol, seed: int, *, fine: bool = True
) -> tuple[LogisticRegression, float]:
    """The probe fitted on all of x (N, D), and its macro accuracy on the selection part when fitted without it.

    Raises DataError when a class is missing.
    """
    missing = sorted(set(range(task.classes)) - set(y.unique().tolist()))
    if missing:
        raise DataError(f"task {task.name}: no training sample has class {missing[0]}; use more pairs")
    fitted, selected = split_for_selection(y, protocol, seed)

    @cache
    def selection_score(cost: float) -> float:
        probe = fit(x[fitted], y[fitted], task.classes, cost)
        return macro_accuracy(probe.logits(x[selected]).argmax(1), y[selected])

    cost = search_cost(selection_score, fine=fine)
    return fit(x, y, task.classes, cost), selection_score(cost)
