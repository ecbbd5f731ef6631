"""Contrastive losses between embeddings of the same samples. B batch, D width.

All inputs are (B, D) and normalised inside; row b of every input belongs to sample b. Scalars come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from training.losses.result import Loss, full_precision


@full_precision
def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """NT-Xent (SimCLR, arXiv:2002.05709, eq. 1): each row's positive is its twin; both sides give negatives.

    Symmetric: info_nce(a, b, t) == info_nce(b, a, t).
    """
    a, b = normalize(a, dim=-1), normalize(b, dim=-1)
    across = a @ b.T / temperature  # (B, B)
    itself = torch.eye(len(a), dtype=torch.bool, device=a.device)
    within_a = (a @ a.T / temperature).masked_fill(itself, -torch.inf)
    within_b = (b @ b.T / temperature).masked_fill(itself, -torch.inf)
    positive = torch.arange(len(a), device=a.device)
    of_a = cross_entropy(torch.cat([across, within_a], dim=1), positive)
    of_b = cross_entropy(torch.cat([across.T, within_b], dim=1), positive)
    return (of_a + of_b) / 2


@full_precision
def cross_modal(a: Tensor, b: Tensor, logit_scale: Tensor | float) -> Loss:
    """CLIP (arXiv:2103.00020, fig. 3): symmetric cross-entropy; negatives come from the other modality only.

    `logit_scale` multiplies the cosines: the inverse of a temperature, already exponentiated.
    """
    logits = logit_scale * normalize(a, dim=-1) @ normalize(b, dim=-1).T  # (B, B)
    positive = torch.arange(len(a), device=a.device)
    a_to_b, b_to_a = cross_entropy(logits, positive), cross_entropy(logits.T, positive)
    return Loss((a_to_b + b_to_a) / 2, {"a_to_b": a_to_b, "b_to_a": b_to_a})


@full_precision
def cmc(embeddings: Sequence[Tensor], temperature: float) -> Loss:
    """CMC (arXiv:1906.05849, "full graph"): the mean InfoNCE over all pairs of modalities."""
    terms = {
        f"pair_{i + 1}_{j + 1}": info_nce(embeddings[i], embeddings[j], temperature)
        for i, j in combinations(range(len(embeddings)), 2)
    }
    return Loss(torch.stack(list(terms.values())).mean(), terms)


@full_precision
def cross_self(
    m1: Tensor,
    m2: Tensor,
    m1_views: tuple[Tensor, Tensor],
    m2_views: tuple[Tensor, Tensor],
    temperature: float,
    ssl_scale: float,
) -> Loss:
    """Cross-modal InfoNCE plus `ssl_scale` times the mean of each modality's own between two augmented views."""
    cross = info_nce(m1, m2, temperature)
    self_1, self_2 = info_nce(*m1_views, temperature), info_nce(*m2_views, temperature)
    loss = cross + ssl_scale * (self_1 + self_2) / 2
    return Loss(loss, {"cross": cross, "self_1": self_1, "self_2": self_2})


@full_precision
def simclr(one: Tensor, two: Tensor, temperature: float) -> Loss:
    """SimCLR (arXiv:2002.05709, eq. 1): the InfoNCE of two augmentations, and nothing else."""
    return Loss(info_nce(one, two, temperature), {})


@full_precision
def slip(
    a: Tensor,
    b: Tensor,
    one: Tensor,
    two: Tensor,
    logit_scale: Tensor | float,
    temperature: float,
    ssl_scale: float,
) -> Loss:
    """SLIP (arXiv:2112.12750, alg. 1): CLIP between modalities a and b, plus `ssl_scale` times SimCLR of two views."""
    cross, itself = cross_modal(a, b, logit_scale).loss, info_nce(one, two, temperature)
    return Loss(cross + ssl_scale * itself, {"cross": cross, "self": itself})
