"""CoMM (arXiv:2409.07402): what two augmentations of a multimodal sample have in common, seen through the fusion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.losses.contrastive import info_nce
from training.losses.result import Loss, full_precision


@full_precision
def comm(z1: Sequence[Tensor], z2: Sequence[Tensor], temperature: float) -> Loss:
    """Mean of the M + 1 alignment terms (eq. 4 of the paper): uniqueness and redundancy from the first M, synergy
    from the last.

    z1, z2: for either augmentation M + 1 tensors (B, D), one per modality alone and last the fusion of all.
    """
    terms = alignment_terms(z1, z2, temperature)
    return Loss(torch.stack(list(terms.values())).mean(), terms)


def alignment_terms(z1: Sequence[Tensor], z2: Sequence[Tensor], temperature: float) -> dict[str, Tensor]:
    """Each modality against the other augmentation's fusion, both ways; then the two fusions with each other."""
    full1, full2 = z1[-1], z2[-1]
    terms = {
        f"align_{m + 1}": (info_nce(one, full2, temperature) + info_nce(two, full1, temperature)) / 2
        for m, (one, two) in enumerate(zip(z1[:-1], z2[:-1], strict=True))
    }
    return {**terms, "align_fused": info_nce(full1, full2, temperature)}
