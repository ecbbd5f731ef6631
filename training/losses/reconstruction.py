"""What a masked autoencoder is trained by. B batch, N patches, steps or columns, K numbers of each, L words, V vocabulary.

Errors come as sums and counts of each sample, (B, 2): what is hidden differs between samples, and the mean is over all
that is hidden in a batch, however the batch is cut into parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.losses.result import Loss, full_precision


@full_precision
def number_errors(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared errors of hidden patches (arXiv:2111.06377, §3), steps or columns. 1 when standardised numbers are
    guessed to be 0.

    predicted, target: (B, N, K). hidden: (B, N) booleans. → (B, 2).
    """
    return _of_hidden((predicted - target).square().mean(-1), hidden)


@full_precision
def word_errors(logits: Tensor, words: Tensor, hidden: Tensor) -> Tensor:
    """Cross-entropies of hidden words, divided by log V, so that they are 1 by guessing, as `number_errors` are.

    logits: (B, L, V). words: (B, L) token ids. hidden: (B, L) booleans. → (B, 2).
    """
    errors = cross_entropy(logits.transpose(1, 2), words, reduction="none") / math.log(logits.shape[-1])
    return _of_hidden(errors, hidden)


def _of_hidden(errors: Tensor, hidden: Tensor) -> Tensor:
    return torch.stack([(errors * hidden).sum(1), hidden.sum(1).to(errors.dtype)], dim=1)


@full_precision
def mean_error(errors: Mapping[str, Tensor]) -> Loss:
    """The mean over modalities of each one's mean error of all that is hidden; 0 where nothing is. errors: (B, 2) each."""
    means = {name: each[:, 0].sum() / each[:, 1].sum().clamp_min(1) for name, each in errors.items()}
    return Loss(torch.stack(list(means.values())).mean(), {f"restore_{name}": e for name, e in means.items()})
