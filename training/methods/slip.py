"""SLIP (arXiv:2112.12750): CLIP on an image and another modality, and SimCLR on two augmentations of the image.

All three views of the image, one for CLIP and two for SimCLR, go through the same tower; the paper's head for SimCLR
stands beside CLIP's projection, on the tower's output. CLIP's view is cropped, as in the paper and as for Cross here.
Gradients flow to both embeddings of every logit; the published code loses half of them where it gathers from devices.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from training.losses import Loss, slip
from training.methods.cross import Cross
from training.methods.method import Batch, Features, When
from training.modules.heads import ProjectionHead
from training.modules.pooling import Pooled
from training.spec import SLIP as SLIPSpec
from training.spec import TrainSpec


class SLIP(Cross):
    """Is Cross, with one more head and one more loss: the embedding is both projections side by side."""

    views = ("crop", "full", "full")

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, SLIPSpec)
        self.options = spec.method
        self.image = self.options.image_of(self.modalities).name
        tower = self.pooled[self.image]
        assert isinstance(tower, Pooled)
        self.head = ProjectionHead(tower.width, self.options.head_hidden, self.options.head_out)

    def features(self, batch: Batch, when: When) -> Features:
        images = torch.cat([view[self.image] for view in batch.views])
        encoded = self.pooled[self.image](images, len(batch.views)).unflatten(0, (3, -1))  # (3, B, width)
        a, b = (
            self.projections[each.name](
                encoded[0] if each.name == self.image else self.pooled[each.name](batch.views[0][each.name])
            )
            for each in self.modalities
        )
        return {"a": a, "b": b, "images": encoded[1:]}

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        one, two = self.head(features["images"])
        scale, options = self.log_scale.exp(), self.options
        return slip(features["a"], features["b"], one, two, scale, options.temperature, options.ssl_scale)
