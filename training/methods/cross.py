"""Cross, that is CLIP (arXiv:2103.00020): two encoders whose pooled, projected outputs are aligned across a pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.losses import Loss, cross_modal
from training.methods.method import Batch, Encoded, Features, Inputs, Method, View, When
from training.methods.towers import as_token, side_by_side
from training.modules.by_name import ByName
from training.modules.encoders import build_encoder
from training.modules.pooling import Pooled
from training.spec import SLIP as SLIPSpec
from training.spec import Cross as CrossSpec
from training.spec import TrainSpec


class Cross(Method):
    """The embedding is both projections side by side, before normalisation; zeros stand for an absent modality."""

    views: ClassVar[tuple[View, ...]] = ("crop",)

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec.dataset.modalities)
        assert isinstance(spec.method, CrossSpec | SLIPSpec)
        width = spec.method.projection_dim
        pooled, projections = {}, {}
        for modality in self.modalities:
            tower = Pooled(build_encoder(modality, spec.model, vocabulary, spec.protocol))
            projection = nn.Linear(tower.width, width, bias=False)
            nn.init.normal_(projection.weight, std=tower.width**-0.5)
            pooled[modality.name], projections[modality.name] = tower, projection
        self.pooled, self.projections = ByName(pooled), ByName(projections)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.embedding_dim = width * len(self.modalities)

    def features(self, batch: Batch, when: When) -> Features:
        a, b = self._projected(batch.views[0])
        return {"a": a, "b": b}

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        return cross_modal(features["a"], features["b"], self.log_scale.exp())

    def encode(self, name: str, raw: Tensor) -> Encoded:
        return as_token(self._projected_of(name, raw))

    def combine(self, encoded: Sequence[Encoded]) -> Tensor:
        return side_by_side(encoded)

    def after_step(self) -> None:
        """The scale stays within [1, 100], as CLIP's."""
        with torch.no_grad():
            self.log_scale.clamp_(0, math.log(100))

    def _projected(self, inputs: Inputs) -> list[Tensor]:
        return [self._projected_of(each.name, inputs[each.name]) for each in self.modalities]

    def _projected_of(self, name: str, raw: Tensor) -> Tensor:
        projected: Tensor = self.projections[name](self.pooled[name](raw))
        return projected
