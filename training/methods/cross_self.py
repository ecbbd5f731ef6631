"""Cross+Self: CLIP's alignment across a pair and SimCLR's within each modality, as CoMM (arXiv:2409.07402) compares with.

Inputs are lightly cropped for the term across and fully augmented for the terms within. Each modality has one
projection head for both. The term across is NT-Xent too, so it has negatives of the same modality, as in the published
runs; CLIP's own has none.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from training.losses import Loss, cross_self
from training.methods.method import Batch, Features, When
from training.methods.towers import TowerMethod
from training.modules.heads import ProjectionHead
from training.spec import CrossSelf as CrossSelfSpec
from training.spec import TrainSpec


class CrossSelf(TowerMethod):
    views = ("crop", "full", "full")

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, CrossSelfSpec)
        self.options = spec.method
        self.heads = nn.ModuleList(
            ProjectionHead(width, self.options.head_hidden, self.options.head_out) for width in self.widths
        )

    def features(self, batch: Batch, when: When) -> Features:
        one, two = self.encoded_views(batch.views)  # (3, B, width) each
        return {"one": one, "two": two}

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        encoded = features["one"], features["two"]
        # Each view is a batch of its own to the head's batch-norms: (3, B, out) per modality.
        first, second = (head(each) for head, each in zip(self.heads, encoded, strict=True))
        return cross_self(
            first[0],
            second[0],
            (first[1], first[2]),
            (second[1], second[2]),
            self.options.temperature,
            self.options.ssl_scale,
        )
