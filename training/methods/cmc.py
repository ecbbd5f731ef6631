"""CMC (arXiv:1906.05849): every two modalities of a sample are aligned, the paper's "full graph".

Inputs are not augmented. The positive pairs and the temperature are the paper's; negatives come from the batch, not
from a memory bank, and from both modalities, as in the published runs of CoMM (arXiv:2409.07402).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from training.losses import Loss, cmc
from training.methods.method import Batch, Features, When
from training.methods.towers import TowerMethod
from training.spec import CMC as CMCSpec
from training.spec import TrainSpec


class CMC(TowerMethod):
    views = ("plain",)

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, CMCSpec)
        self.options = spec.method
        self.projections = nn.ModuleList(
            nn.Linear(width, self.options.projection_dim, bias=False) for width in self.widths
        )

    def features(self, batch: Batch, when: When) -> Features:
        encoded = self.encoded(batch.views[0])
        parts = zip(self.modalities, self.projections, encoded, strict=True)
        return {modality.name: project(each) for modality, project, each in parts}

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        return cmc(list(features.values()), self.options.temperature)
