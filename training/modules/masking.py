"""Which parts of an input are hidden, at random. T masked views, B batch, L parts (tokens, patches or words)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from training.spec import MaskRatio, RatioRange


def drawn_ratios(ratios: MaskRatio | dict[str, MaskRatio], names: Iterable[str]) -> list[float]:
    """A step's mask ratio of each modality; a range that stands for all of them is drawn from once for all."""
    names = list(names)
    if isinstance(ratios, dict):
        return [_drawn(ratios[name]) for name in names]
    return [_drawn(ratios)] * len(names)


def _drawn(ratio: MaskRatio) -> float:
    """Drawn on the CPU, because it decides how many tokens are kept; a plain number takes no random number."""
    if not isinstance(ratio, RatioRange):
        return ratio
    return ratio.low + (ratio.high - ratio.low) * torch.rand(()).item()


def random_keep(n_masks: int, tokens: Tensor, mask_ratio: float) -> Tensor:
    """(T, B, L) booleans, true for int(L · (1 − mask_ratio)) random tokens of each sample: (B, L, D).

    The number is cut, not rounded, as published: of 50 tokens, ratio 0.8 keeps 9 because 1 − 0.8 < 0.2 in floats, and
    the only token of a one-token modality is always hidden. Padding may be among the kept.
    """
    batch, length = tokens.shape[:2]
    kept = int(length * (1 - mask_ratio))
    chosen = torch.rand(n_masks, batch, length, device=tokens.device).argsort(dim=-1)[..., :kept]
    keep = torch.zeros(n_masks, batch, length, dtype=torch.bool, device=tokens.device)
    return keep.scatter_(-1, chosen, value=True)


def random_hidden(there: Tensor, mask_ratio: float) -> Tensor:
    """(B, L) booleans, true for a random share `mask_ratio` of each sample's parts that are `there` (B, L).

    Of n parts, int(n · (1 − mask_ratio)) stay visible: at least one is hidden of every sample that has any.
    """
    noise = torch.rand(there.shape, device=there.device).masked_fill(~there, torch.inf)
    rank = noise.argsort(dim=-1).argsort(dim=-1)
    visible = (there.sum(-1, keepdim=True) * (1 - mask_ratio)).to(torch.int64)
    return there & (rank >= visible)
