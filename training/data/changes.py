"""Random changes of sequences and tables, every sample by parameters of its own. B batch, L parts, F features.

Each takes and gives `x`, sequences (B, L, F) or tables (B, L), and `there` (B, L): which of a sequence's steps are not
padding, or which columns a table has, which are all. Padding lies at a sequence's end, is zero, and stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from training.data.geometry import uniform
from training.spec import Change

MOST_DROPPED, LEAST_KEPT, NOISE, CHANCE = 0.8, 0.5, 0.1, 0.5


class Parts(NamedTuple):
    x: Tensor
    there: Tensor


def changed(parts: Parts, changes: Sequence[Change], coin: Callable[[Change], Tensor]) -> Tensor:
    """The changes in their order, each made where its coins (B,) say so. Returns x."""
    for change in changes:
        shown, after = coin(change), MADE[change](parts)
        parts = Parts(
            torch.where(shown.view(-1, *[1] * (parts.x.ndim - 1)), after.x, parts.x),
            torch.where(shown[:, None], after.there, parts.there),
        )
    return parts.x


def drop(parts: Parts) -> Parts:
    """round(U(0, 0.8) · length) random parts become zero, as published for MultiBench's data."""
    share = uniform(0, MOST_DROPPED, (len(parts.x), 1), parts.x)
    count = (share * parts.there.sum(1, keepdim=True)).round()
    place = _random_order(parts.there).argsort(1)
    return Parts(parts.x.masked_fill(_per_part(place < count, parts.x), 0), parts.there)


def noise(parts: Parts) -> Parts:
    """Plus N(0, 0.1²) in each number."""
    return _where_there(parts.x + NOISE * torch.randn_like(parts.x), parts)


def permute(parts: Parts) -> Parts:
    """The steps in a random order."""
    return Parts(_gathered(parts.x, _random_order(parts.there)), parts.there)


def crop(parts: Parts) -> Parts:
    """A window of U(0.5, 1) · length steps, rounded up, which then begins at the first step; padding follows it."""
    length = parts.there.sum(1, keepdim=True)
    kept = (uniform(LEAST_KEPT, 1, (len(length), 1), parts.x) * length).ceil()
    start = (uniform(0, 1, (len(length), 1), parts.x) * (length - kept + 1)).floor().minimum(length - kept)
    place = torch.arange(parts.there.shape[1], device=length.device)
    window = (place + start.long()).clamp_max(parts.there.shape[1] - 1)
    return _where_there(_gathered(parts.x, window), Parts(torch.zeros_like(parts.x), place < kept))


def mixup(parts: Parts) -> Parts:
    """λx + (1 − λ)x′ with another sample x′ of the batch and λ of Beta(1, 1), which is uniform (arXiv:1710.09412)."""
    share = uniform(0, 1, (len(parts.x), *[1] * (parts.x.ndim - 1)), parts.x)
    other = parts.x[torch.randperm(len(parts.x), device=parts.x.device)]
    return _where_there(share * parts.x + (1 - share) * other, parts)


MADE: Mapping[Change, Callable[[Parts], Parts]] = {
    "drop": drop,
    "noise": noise,
    "permute": permute,
    "crop": crop,
    "mixup": mixup,
}


def toss(n: int, like: Tensor) -> Tensor:
    """Coins (n,) of which half say yes."""
    return torch.rand(n, device=like.device) < CHANCE


def _where_there(x: Tensor, parts: Parts) -> Parts:
    return Parts(torch.where(_per_part(parts.there, x), x, 0), parts.there)


def _random_order(there: Tensor) -> Tensor:
    """Per sample all places (B, L), first those there in a random order."""
    return torch.rand(there.shape, device=there.device).masked_fill(~there, 2).argsort(1)


def _gathered(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(1, _per_part(places, x).expand(-1, -1, *x.shape[2:]))


def _per_part(values: Tensor, x: Tensor) -> Tensor:
    """(B, L) as (B, L, 1) beside sequences."""
    return values[..., None] if x.ndim == 3 else values
