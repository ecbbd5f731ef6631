"""What labelled tasks are learned by. B batch, C classes, K labels or numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from training.losses.result import Loss, full_precision

TaskType = Literal["class", "multilabel", "regression"]


def supervised(
    outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], types: Mapping[str, TaskType]
) -> Loss:
    """The mean of the tasks' errors, by task."""
    terms = {f"task_{name}": task_error(outputs[name], labels[name], types[name]) for name in outputs}
    return Loss(torch.stack(list(terms.values())).mean(), terms)


@full_precision
def task_error(outputs: Tensor, labels: Tensor, type_: TaskType) -> Tensor:
    """Scalar. Of a head that makes no difference it is log C, log 2, or 1 where numbers are standardised.

    class: cross-entropy, outputs (B, C), labels (B,). multilabel: binary cross-entropy, mean over labels, (B, K) both.
    regression: mean squared error, (B, K) both.
    """
    match type_:
        case "class":
            return cross_entropy(outputs, labels)
        case "multilabel":
            return binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype))
        case "regression":
            return mse_loss(outputs, labels.to(outputs.dtype))
