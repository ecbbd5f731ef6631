"""Cross, that is CLIP (arXiv:2103.00020): two encoders whose pooled, projected outputs are aligned across a pair."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.losses import Loss, cross_modal
from training.methods.method import Inputs, Method, When
from training.modules.encoders import Encoder, TextEncoder, build_encoder
from training.spec import Cross as CrossSpec
from training.spec import TrainSpec


class Cross(Method):
    """The embedding is both projections side by side, before normalisation; zeros stand for an absent modality."""

    n_views = 1
    augmentation = "crop"

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec.dataset.modalities)
        assert isinstance(spec.method, CrossSpec)
        width = spec.method.projection_dim
        self.pooled, self.projections = nn.ModuleDict(), nn.ModuleDict()
        for modality in self.modalities:
            pooled = Pooled(build_encoder(modality, spec.model, vocabulary))
            projection = nn.Linear(pooled.width, width, bias=False)
            nn.init.normal_(projection.weight, std=pooled.width**-0.5)
            self.pooled[modality.name], self.projections[modality.name] = pooled, projection
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.embedding_dim = width * len(self.modalities)

    def forward(self, views: list[Inputs], when: When) -> Loss:
        a, b = self._projected(views[0])
        return cross_modal(a, b, self.log_scale.exp())

    def embed(self, inputs: Inputs, present: Tensor) -> Tensor:
        parts = self._projected(inputs)
        return torch.cat([part * present[:, m : m + 1] for m, part in enumerate(parts)], dim=1)

    def after_step(self) -> None:
        """The scale stays within [1, 100], as CLIP's."""
        with torch.no_grad():
            self.log_scale.clamp_(0, math.log(100))

    def _projected(self, inputs: Inputs) -> list[Tensor]:
        return [self.projections[m.name](self.pooled[m.name](inputs[m.name])) for m in self.modalities]


class Pooled(nn.Module):
    """One vector per sample: a linear layer over all parts of an image, the mean over the tokens of a text."""

    LATENT = 256

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = self.LATENT
        if isinstance(encoder, TextEncoder):
            self.width = encoder.width
        else:
            self.latent = nn.Linear(encoder.grid[0] * encoder.grid[1] * encoder.width, self.LATENT)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.encoder(x)
        if not isinstance(self.encoder, TextEncoder):
            pooled: Tensor = self.latent(parts.flatten(1))
            return pooled
        there = (x != 0).unsqueeze(-1).to(parts.dtype)
        return (parts * there).sum(1) / there.sum(1).clamp_min(1)
