"""What a method is: a network with a training loss and an embedding. M modalities, B batch, D width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from training.losses import Loss
from training.modules.adapters import PatchAdapter, SequenceAdapter
from training.modules.encoders import TextEncoder, build_encoder
from training.modules.fusion import FusionTransformer
from training.modules.heads import ProjectionHead
from training.spec import Modality, Model, TrainSpec

Inputs = Mapping[str, Tensor]
"""By modality: images (B, C, H, W) normalised, texts (B, L) token ids with zeros for padding."""


class When(NamedTuple):
    """Where in the training a step stands; some losses change over the epochs."""

    epoch: int
    max_epochs: int


class Method(nn.Module, ABC):
    """Called with augmented views of a batch it gives the loss; `embed` gives the representation."""

    n_views: ClassVar[int]
    """Augmented views of each sample that a step needs."""
    augmentation: ClassVar[Literal["full", "crop"]]
    """How strongly they are augmented: `full`, or `crop` alone."""
    embedding_dim: int

    def __init__(self, modalities: tuple[Modality, ...]) -> None:
        super().__init__()
        self.modalities = modalities

    @abstractmethod
    def forward(self, views: list[Inputs], when: When) -> Loss: ...

    @abstractmethod
    def embed(self, inputs: Inputs, present: Tensor) -> Tensor:
        """(B, embedding_dim). `present` (B, M): which modalities each sample has; what is absent has no influence."""

    def after_step(self) -> None:
        """Puts parameters back into their bounds after an optimizer step."""


class Tokens(nn.Module):
    """All modalities' encoders and adapters: raw inputs to tokens of one width."""

    def __init__(self, modalities: tuple[Modality, ...], model: Model, vocabulary: int) -> None:
        super().__init__()
        self.modalities = modalities
        self.encoders = nn.ModuleDict()
        self.adapters = nn.ModuleDict()
        for modality in modalities:
            encoder = build_encoder(modality, model, vocabulary)
            self.encoders[modality.name] = encoder
            self.adapters[modality.name] = (
                SequenceAdapter(encoder.width, model.dim)
                if isinstance(encoder, TextEncoder)
                else PatchAdapter(encoder.width, model.dim, encoder.grid)
            )

    def forward(self, inputs: Inputs) -> tuple[list[Tensor], list[Tensor]]:
        """Per modality tokens (B, Lₘ, D), and booleans (B, Lₘ) that are false for padding."""
        tokens, there = [], []
        for modality in self.modalities:
            raw = inputs[modality.name]
            own = self.adapters[modality.name](self.encoders[modality.name](raw))
            tokens.append(own)
            there.append(
                raw != 0 if modality.kind == "text" else torch.ones_like(own[..., 0], dtype=torch.bool)
            )
        return tokens, there


class FusedMethod(Method):
    """What CoMM and InfMasking share: tokens, a fusion transformer, one projection head for every view."""

    n_views = 2
    augmentation = "full"

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec.dataset.modalities)
        model = spec.model
        self.ignores_padding = spec.protocol == "reference"
        self.tokens = Tokens(self.modalities, model, vocabulary)
        self.fusion = FusionTransformer(model.dim, model.heads, model.layers)
        self.head = ProjectionHead(model.dim, model.head_hidden, model.head_out)
        self.embedding_dim = model.dim

    def embed(self, inputs: Inputs, present: Tensor) -> Tensor:
        tokens, there = self.tokens(inputs)
        there = [own & present[:, m : m + 1] for m, own in enumerate(there)]
        embedding: Tensor = self.fusion(tokens, there)
        return embedding

    def tokens_of_both(self, views: list[Inputs]) -> tuple[list[Tensor], list[Tensor] | None]:
        """Tokens of both augmentations, one after the other in the batch: one pass through each encoder.

        The published training passes no padding mask to the fusion; protocol `reference` does the same.
        """
        both = {m.name: torch.cat([view[m.name] for view in views]) for m in self.modalities}
        tokens, there = self.tokens(both)
        return tokens, None if self.ignores_padding else there

    def clean_views(self, tokens: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Keep masks (M + 1, B, Lₘ) and seen modalities (M + 1, M) of each modality alone and of all together."""
        count = len(tokens)
        keep = [each.new_ones(count + 1, *each.shape[:2], dtype=torch.bool) for each in tokens]
        alone_and_all = torch.cat([torch.eye(count), torch.ones(1, count)]).bool().to(tokens[0].device)
        return keep, alone_and_all

    def project(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """The head's output for fused (V, 2B, D), as (V, B, out) for either augmentation.

        Each view of each augmentation is a batch of its own to the head's batch-norms.
        """
        views, both, _ = fused.shape
        projected = self.head(fused.view(2 * views, both // 2, -1)).unflatten(0, (views, 2))
        return projected[:, 0], projected[:, 1]
