"""InfMasking (arXiv:2509.25270): CoMM, and T randomly masked fusions per augmentation that the unmasked one must match.

Only the masked views of all modalities together are computed: the published code also masks each modality alone, and
its loss reads none of those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from training.losses import Loss, infmasking
from training.methods.method import Batch, Features, ProjectedMethod, When
from training.modules.masking import drawn_ratios, random_keep
from training.spec import InfMasking as InfMaskingSpec
from training.spec import TrainSpec


class InfMasking(ProjectedMethod):
    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, InfMaskingSpec)
        self.options = spec.method

    def features(self, batch: Batch, when: When) -> Features:
        options = self.options
        tokens, there = self.tokens_of_both(batch.views)
        keep, sees = self.clean_views(tokens)
        ratios = drawn_ratios(options.mask_ratio, [modality.name for modality in self.modalities])
        masks = [random_keep(options.n_masks, *each) for each in zip(tokens, ratios, strict=True)]
        keep = [torch.cat([clean, masked]) for clean, masked in zip(keep, masks, strict=True)]
        sees = torch.cat([sees, sees[-1:].expand(options.n_masks, -1)])  # masked views see every modality

        def fused_views(sees: Tensor, *keep: Tensor) -> Tensor:
            return self.fusion.forward_views(tokens, keep, sees, there)

        fused = self.by_chunks(fused_views, sees, *keep)  # (M + 1 + T, 2B, D)
        return {"fused": fused.unflatten(1, (2, -1))}

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        options = self.options
        z1, z2 = self.by_chunks(self.project, features["fused"]).unbind(1)  # (M + 1 + T, B, out) each
        clean = len(self.modalities) + 1
        return infmasking(
            list(z1[:clean]),
            list(z2[:clean]),
            z1[clean:],
            z2[clean:],
            temperature=options.temperature,
            mask_lambda=options.mask_lambda,
            epoch=when.epoch if options.lambda_schedule == "linear" else when.max_epochs - 1,
            max_epochs=when.max_epochs,
            weights=options.weights,
            entropy_penalty=options.entropy_penalty,
        )

    def by_chunks(self, function: Callable[..., Tensor], *per_view: Tensor) -> Tensor:
        """function(*per_view), all of them (V, …); in chunks of views when the options say so.

        Views do not know of one another, neither in the fusion nor in the head, so a chunk is what it would be in one
        piece. Of a chunk only the output is held; the backward pass computes its inside again.
        """
        size = self.options.views_per_chunk
        if size is None:
            return function(*per_view)
        chunks = zip(*(each.split(size) for each in per_view), strict=True)
        parts = [
            checkpoint(function, *each, use_reentrant=False, preserve_rng_state=False) for each in chunks
        ]
        return torch.cat(parts)
