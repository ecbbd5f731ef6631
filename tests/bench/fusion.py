"""How much the exact masked fusion saves: forward and backward of all views, naive against exact, on one thread.

Naive is what the published code does: for either modality alone and for both, one clean view and T masked ones, each
a full sequence through torch's own attention. Exact is what `FusionTransformer.forward_views` does for what the loss
reads: the clean views, and the masked ones of both modalities together.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from tests.naive_step import fused
from training.methods.infmasking import random_keep
from training.modules.fusion import FusionTransformer

DIM, HEADS, TOKENS, BATCH, RATIO = 512, 8, (36, 36), 16, 0.7


def measure() -> dict[str, float]:
    """Seconds for T = 6 and the ratio naive / exact, each the fastest of interleaved repeats; exact for larger T."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    fusion = FusionTransformer(DIM, HEADS, 1)
    tokens = [torch.randn(BATCH, length, DIM, requires_grad=True) for length in TOKENS]
    naive_s, exact_s = [], []
    for _ in range(3):
        exact_s += [seconds(lambda: exact(fusion, tokens, 6)) for _ in range(3)]
        naive_s.append(seconds(lambda: naive(fusion, tokens, 6)))
    larger = {f"exact_T{count}_s": seconds(lambda n=count: exact(fusion, tokens, n)) for count in (32, 128)}
    torch.set_num_threads(threads)
    return {
        "naive_T6_s": min(naive_s),
        "exact_T6_s": min(exact_s),
        "speedup_T6": min(naive_s) / min(exact_s),
        **larger,
    }


def exact(fusion: FusionTransformer, tokens: list[Tensor], n_masks: int) -> Tensor:
    clean = [torch.ones(3, BATCH, length, dtype=torch.bool) for length in TOKENS]
    keep = [
        torch.cat([own, random_keep(n_masks, each, RATIO)]) for own, each in zip(clean, tokens, strict=True)
    ]
    sees = torch.tensor([[True, False], [False, True]] + [[True, True]] * (1 + n_masks))
    return fusion.forward_views(tokens, keep, sees)


def naive(fusion: FusionTransformer, tokens: list[Tensor], n_masks: int) -> Tensor:
    views = []
    for seen in ([0], [1], [0, 1]):
        for view in range(1 + n_masks):
            parts = []
            for m in seen:
                keep = random_keep(1, tokens[m], RATIO)[0, ..., None]
                parts.append(tokens[m] if view == 0 else torch.where(keep, tokens[m], fusion.mask_token))
            views.append(fused(fusion, parts))
    return torch.stack(views)


def seconds(work: Callable[[], Tensor]) -> float:
    """CPU time, which other work on the machine disturbs less than wall time."""
    start = time.process_time()
    work().square().sum().backward()
    return time.process_time() - start
