"""InfMasking (arXiv:2509.25270): CoMM, and T randomly masked fusions per augmentation that the unmasked one must match."""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses import Loss, infmasking
from training.methods.method import FusedMethod, Inputs, When
from training.spec import InfMasking as InfMaskingSpec
from training.spec import TrainSpec


class InfMasking(FusedMethod):
    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, InfMaskingSpec)
        self.options = spec.method

    def forward(self, views: list[Inputs], when: When) -> Loss:
        tokens, there = self.tokens_of_both(views)
        keep, sees = self.clean_views(tokens)
        masks = [random_keep(self.options.n_masks, each, self.options.mask_ratio) for each in tokens]
        keep = [torch.cat([clean, masked]) for clean, masked in zip(keep, masks, strict=True)]
        sees = torch.cat(
            [sees, sees[-1:].expand(self.options.n_masks, -1)]
        )  # masked views see every modality

        z1, z2 = self.project(
            self.fusion.forward_views(tokens, keep, sees, there)
        )  # (M + 1 + T, B, out) each
        clean = len(tokens) + 1
        return infmasking(
            list(z1[:clean]),
            list(z2[:clean]),
            z1[clean:],
            z2[clean:],
            temperature=self.options.temperature,
            mask_lambda=self.options.mask_lambda,
            epoch=when.epoch,
            max_epochs=when.max_epochs,
            weights=self.options.weights,
        )


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
