"""AdamW and learning rates, as the tables' published runs used them."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import AdamW, Optimizer

from training.spec import Optim

WARMUP_START = 1e-6


def build_optimizer(network: nn.Module, spec: Optim) -> AdamW:
    """Two parameter groups: biases and everything one-dimensional (norms) do not decay, all else does.

    The CLS and mask tokens are not one-dimensional and so do decay, as published.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (spared if parameter.ndim < 2 or "bias" in name else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return AdamW(
        [group for group in groups if group["params"]], lr=spec.lr, betas=spec.betas, eps=1e-8, fused=True
    )


def learning_rate(spec: Optim, epoch: int, epochs: int) -> float:
    """The rate of an epoch (from 0). Stateless, so that a resumed run need not remember a schedule.

    `cosine`: from 1e-6 in equal steps to `lr` at the last of the warm-up epochs, then half a cosine to `min_lr`.
    """
    if spec.schedule == "constant":
        return spec.lr
    if epoch < spec.warmup_epochs:
        share = epoch / max(1, spec.warmup_epochs - 1)
        return WARMUP_START + (spec.lr - WARMUP_START) * share
    share = (epoch - spec.warmup_epochs) / max(1, epochs - spec.warmup_epochs)
    return spec.min_lr + (spec.lr - spec.min_lr) * (1 + math.cos(math.pi * share)) / 2


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
