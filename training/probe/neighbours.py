"""k nearest neighbours: what samples are like, told by the samples most like them. Nothing is fitted.

N training samples, n others, D width, K classes, labels or outputs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.spec import Task

COUNT = 20
TEMPERATURE = 0.07
MOST_SIMILARITIES = 1 << 24
"""That are held at a time."""


class Neighbours(NamedTuple):
    rows: Tensor
    """Of the training samples, the most similar first, (n, k)."""
    weights: Tensor
    """How much each counts: exp(cosine / TEMPERATURE), summing to 1, as in arXiv:1805.01978. (n, k)."""


def nearest(train: Tensor, x: Tensor | None = None, count: int = COUNT) -> Neighbours:
    """Of each of x (n, D) among `train` (N, D), by cosine; all of them when there are fewer.

    Without x, of each training sample among the others: what is said of it is not said by itself.
    """
    known = normalize(train, dim=1)
    asking = known if x is None else normalize(x, dim=1)
    count = min(count, len(train) - (x is None))
    part = max(1, MOST_SIMILARITIES // len(train))
    found = []
    for at in range(0, len(asking), part):
        similar = asking[at : at + part] @ known.T
        if x is None:
            similar.diagonal(at).fill_(-torch.inf)
        found.append(similar.topk(count, dim=1))
    similar, rows = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Neighbours(rows, (similar / TEMPERATURE).softmax(1))


def vote(neighbours: Neighbours, task: Task, truth: Tensor) -> Tensor:
    """What the neighbours, whose `truth` is that of the training samples, say: outputs (n, K) as a probe's.

    Log shares of classes, log odds of labels, or mean values.
    """
    rows, weights = neighbours
    if task.type == "class":
        shares = weights.new_zeros(len(rows), task.classes)
        return shares.scatter_add_(1, truth[rows], weights).log()
    means = torch.einsum("nk,nkc->nc", weights, truth[rows].to(weights))
    return means.logit() if task.type == "multilabel" else means
