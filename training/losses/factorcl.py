"""FactorCL (arXiv:2306.05268): what two modalities share and what is unique to each, by bounds of mutual information.

All scores are (B, B): entry (i, j) is a critic's value of first argument j and second argument i, so that the diagonal
has the pairs that belong together and each row offers one second argument all first ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.losses.result import Loss, full_precision


@full_precision
def lower_bound(scores: Tensor) -> Tensor:
    """I_NCE (§3.1 of the paper): mean f(x_i, y_i) − mean_i log Σ_j exp f(x_j, y_i) + log B. 0 for a constant critic."""
    return scores.diagonal().mean() - scores.logsumexp(1).mean() + math.log(len(scores))


@full_precision
def upper_bound(scores: Tensor) -> Tensor:
    """I_NCE-CLUB (§3.1): mean f(x_i, y_i) − mean_ij f(x_j, y_i). 0 for a constant critic.

    A bound only with the critic that maximises `lower_bound`: it is trained by `critics`, never by this.
    """
    return scores.diagonal().mean() - scores.mean()


@full_precision
def factorcl(
    shared: Tensor,
    shared_upper: Tensor,
    unique_1: Tensor,
    unique_2: Tensor,
    conditional: Tensor,
    conditional_upper: Tensor,
) -> Loss:
    """Lower bounds up, upper bounds down, all with weight 1 (§3.2, its three objectives added up):

        − I_NCE(x₁; x₂) − I_NCE(x₁; x₁′) − I_NCE(x₂; x₂′) − I_NCE(x₁x₁′; x₂x₂′)
        + I_CLUB(x₁; x₂) + I_CLUB(x₁x₁′; x₂x₂′)

    Shared information is I(x₁; x₂) without what the augmentations x′ leave of it, unique information I(x; x′) without
    what is shared. All arguments are scores (B, B).
    """
    terms = {
        "shared": -lower_bound(shared),
        "shared_upper": upper_bound(shared_upper),
        "unique_1": -lower_bound(unique_1),
        "unique_2": -lower_bound(unique_2),
        "conditional": -lower_bound(conditional),
        "conditional_upper": upper_bound(conditional_upper),
    }
    return Loss(torch.stack(list(terms.values())).sum(), terms)


@full_precision
def critics(shared_upper: Tensor, conditional_upper: Tensor) -> Loss:
    """What the critics of the two upper bounds are trained by: their own lower bounds. Scores (B, B)."""
    terms = {
        "critic_shared": -lower_bound(shared_upper),
        "critic_conditional": -lower_bound(conditional_upper),
    }
    return Loss(torch.stack(list(terms.values())).sum(), terms)
