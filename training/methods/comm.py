"""CoMM (arXiv:2409.07402): two augmentations, each modality alone and all fused, aligned with one another."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from training.losses import Loss, comm
from training.methods.method import Batch, Features, ProjectedMethod, When
from training.spec import CoMM as CoMMSpec
from training.spec import TrainSpec


class CoMM(ProjectedMethod):
    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, CoMMSpec)
        self.options = spec.method

    def features(self, batch: Batch, when: When) -> Features:
        tokens, there = self.tokens_of_both(batch.views)
        keep, sees = self.clean_views(tokens)
        fused = self.fusion.forward_views(tokens, keep, sees, there)  # (M + 1, 2B, D)
        return {"fused": fused.unflatten(1, (2, -1))}

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        z1, z2 = self.project(features["fused"]).unbind(1)  # (M + 1, B, out) each
        return comm(list(z1), list(z2), self.options.temperature)
