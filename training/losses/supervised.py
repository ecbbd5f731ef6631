"""Cross-entropy of labelled tasks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.losses.result import Loss, full_precision


def supervised(logits: Mapping[str, Tensor], classes: Mapping[str, Tensor]) -> Loss:
    """The mean of the tasks' cross-entropies; each is log C for a head that makes no difference between its C classes.

    logits: task → (B, C). classes: task → (B,).
    """
    terms = {f"task_{name}": task_error(logits[name], classes[name]) for name in logits}
    return Loss(torch.stack(list(terms.values())).mean(), terms)


@full_precision
def task_error(logits: Tensor, classes: Tensor) -> Tensor:
    """(B, C) and (B,) → scalar."""
    return cross_entropy(logits, classes)
