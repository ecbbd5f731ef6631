"""InfMasking (arXiv:2509.25270): CoMM's alignment, and unmasked fusions aligned with infinitely many masked ones.

T masked views, B batch, D width of the projection.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.losses.comm import alignment_terms
from training.losses.entropy import entropy
from training.losses.result import Loss, full_precision


@full_precision
def infmasking(
    z1: Sequence[Tensor],
    z2: Sequence[Tensor],
    masked1: Tensor,
    masked2: Tensor,
    *,
    temperature: float,
    mask_lambda: float,
    epoch: int,
    max_epochs: int,
    weights: Sequence[float] | None = None,
    entropy_penalty: float = 0.0,
) -> Loss:
    """Σ wᵢ termᵢ / (M + 3) over [mask 1, mask 2, align 1 … align M, align fused]; all weights 1 by default.

    z1, z2: for either augmentation M + 1 tensors (B, D), the last the unmasked fusion.
    masked1, masked2: (T, B, D), masked fusions of the same augmentation as z1 and z2.
    epoch: from 0; the spread of the masked views counts with mask_lambda · (epoch + 1) / max_epochs.
    entropy_penalty: how much the mean entropy of all unmasked views, of both augmentations, is taken off the loss. The
    published code has such an option and no published run uses it.
    """
    spread_weight = mask_lambda * (epoch + 1) / max_epochs
    terms = {
        "mask_1": masked_alignment(z1[-1], masked1, temperature, spread_weight),
        "mask_2": masked_alignment(z2[-1], masked2, temperature, spread_weight),
        **alignment_terms(z1, z2, temperature),
    }
    values = list(terms.values())
    if weights is not None:
        # One by one: as a tensor they would be copied to the device in every step, and waited for.
        values = [weight * value for weight, value in zip(weights, values, strict=True)]
    loss = torch.stack(values).mean()
    if entropy_penalty:
        terms["entropy"] = torch.stack([entropy(view) for view in (*z1, *z2)]).mean()
        loss = loss - entropy_penalty * terms["entropy"]
    return Loss(loss, terms)


@full_precision
def masked_alignment(fused: Tensor, masked: Tensor, temperature: float, spread_weight: float) -> Tensor:
    """The InfoNCE of q with infinitely many masked positives, by its closed upper bound (§3.3 of the paper).

    Were the masked views k Gaussian with mean μ and covariance Σ, then E[exp(q·k/τ)] = exp(q·μ/τ + qᵀΣq/2τ²), so
        loss = −q·μ/τ + log( exp((q·μ + v/2)/τ) + Σ_negatives exp(q·k/τ) ),    v = spread_weight · qᵀΣq / τ.
    Negatives are all other samples, masked (T each) and unmasked. Σ never stands as a matrix:
    qᵀΣq = (1/T) Σₜ (q·(kₜ − μ))².

    fused: (B, D) q; masked: (T, B, D) k.
    """
    q, k = normalize(fused, dim=-1), normalize(masked, dim=-1)
    n_views, batch = k.shape[:2]
    to_own = torch.einsum("bd,tbd->tb", q, k)
    mean = to_own.mean(0)  # (B,)  q·μ
    spread = spread_weight / temperature * (to_own - mean).square().mean(0)  # (B,)  v
    positive = (mean + spread / 2) / temperature

    itself = torch.eye(batch, dtype=torch.bool, device=q.device)
    to_fused = (q @ q.T / temperature).masked_fill(itself, -torch.inf)  # (B, B)
    to_masked = (q @ k.reshape(n_views * batch, -1).T / temperature).view(batch, n_views, batch)
    to_masked = to_masked.masked_fill(itself[:, None], -torch.inf).flatten(1)  # (B, T·B)
    everything = torch.cat([positive[:, None], to_masked, to_fused], dim=1)
    return (everything.logsumexp(1) - mean / temperature).mean()
