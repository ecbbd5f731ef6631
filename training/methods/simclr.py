"""SimCLR (arXiv:2002.05709): two augmentations of an image are aligned. Other modalities are neither seen nor needed.

As in the published runs of CoMM (arXiv:2409.07402) the head has three layers, where the paper has two.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from training.losses import Loss, simclr
from training.methods.method import Batch, Features, When
from training.methods.towers import TowerMethod
from training.modules.heads import ProjectionHead
from training.spec import SimCLR as SimCLRSpec
from training.spec import TrainSpec


class SimCLR(TowerMethod):
    """Has one modality, whatever the dataset has: what it exports takes an image alone."""

    views = ("full", "full")

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        assert isinstance(spec.method, SimCLRSpec)
        super().__init__(spec, vocabulary, (spec.method.image_of(spec.dataset.modalities),))
        self.options = spec.method
        self.head = ProjectionHead(self.embedding_dim, self.options.head_hidden, self.options.head_out)

    def features(self, batch: Batch, when: When) -> Features:
        (encoded,) = self.encoded_views(batch.views)
        return {"encoded": encoded}  # (2, B, width)

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        one, two = self.head(features["encoded"])  # (B, out) each
        return simclr(one, two, self.options.temperature)
