"""What a masked autoencoder is trained by. B batch, N patches, K pixel values of a patch, L words, V vocabulary."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.losses.result import Loss, full_precision


@full_precision
def pixel_error(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error over hidden patches (arXiv:2111.06377, §3). 1 when normalised patches are guessed to be 0.

    predicted, target: (B, N, K). hidden: (B, N) booleans.
    """
    errors = (predicted - target).square().mean(-1)
    return (errors * hidden).sum() / hidden.sum().clamp_min(1)


@full_precision
def word_error(logits: Tensor, words: Tensor, hidden: Tensor) -> Tensor:
    """Cross-entropy over hidden words, divided by log V, so that it is 1 by guessing, as `pixel_error` is.

    logits: (B, L, V). words: (B, L) token ids. hidden: (B, L) booleans. 0 when no word is hidden.
    """
    errors = cross_entropy(logits.transpose(1, 2), words, reduction="none") / math.log(logits.shape[-1])
    return (errors * hidden).sum() / hidden.sum().clamp_min(1)


def mean_of(errors: Mapping[str, Tensor]) -> Loss:
    """The mean of all modalities' errors, by modality."""
    return Loss(
        torch.stack(list(errors.values())).mean(), {f"restore_{name}": e for name, e in errors.items()}
    )
