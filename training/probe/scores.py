"""What a classifier's answers are worth."""

from __future__ import annotations

import torch
from torch import Tensor


def macro_accuracy(predicted: Tensor, truth: Tensor) -> float:
    """Mean over the classes that occur of the share of each that is found. Guessing scores 1 / classes.

    The published tables call this top-1 accuracy.
    """
    right = (predicted == truth).double()
    return float(torch.stack([right[truth == label].mean() for label in truth.unique()]).mean())


def accuracy(predicted: Tensor, truth: Tensor) -> float:
    return float((predicted == truth).double().mean())
