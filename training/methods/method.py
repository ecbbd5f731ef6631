"""What a method is: a network with a training loss and an embedding. M modalities, B batch, D width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from training.losses import Loss
from training.modules.fusion import FusionTransformer
from training.modules.heads import ProjectionHead
from training.modules.tokens import Tokens
from training.spec import Modality, TrainSpec

Inputs = Mapping[str, Tensor]
"""By modality: images (B, C, H, W) normalised; texts (B, L) token ids with zeros for padding; sequences (B, L, F) with steps
of zeros at the end for padding; tables (B, F). All float32 but texts."""
Features = dict[str, Tensor]
"""What a step learns from each sample by itself, (…, B, C) each: the batch is the last axis but one."""
View = Literal["plain", "crop", "full"]
"""How strongly a view of a sample is augmented: not, by cropping alone, or fully."""


class Batch(NamedTuple):
    """What a step is given of its samples."""

    views: list[Inputs]
    """As many as the method's `views`, in that order."""
    labels: Mapping[str, Tensor]
    """Task → classes (B,), or labels or numbers (B, K), of the method's `tasks` alone: empty unless the method is
    supervised."""


class Encoded(NamedTuple):
    """One modality of a batch, as the embedding is made of it."""

    tokens: Tensor  # (B, L, width)
    there: Tensor
    """Booleans (B, L), false for padding and for all tokens of a sample that lacks the modality. What is not there has no
    influence on the embedding, and neither has the order of the tokens."""


class When(NamedTuple):
    """Where in the training a step stands; some losses change over the epochs."""

    epoch: int
    max_epochs: int
    turn: int = 0
    """Which of the step's turns this is, for methods with more than one."""


class Method(nn.Module, ABC):
    """Called with a batch it gives the loss; `embed` gives the representation.

    The representation is computed in two steps, `encode` for each modality by itself and `combine` for all of them, and
    exported in these, so that a modality that is absent costs nothing where the model is served.

    The loss is computed in two parts. In `features` no sample knows of another (but in an encoder's batch-norms); in
    `loss` all of them meet. Between the two a batch can be put together from parts, computed one after the other or on
    several devices, and is as good a source of negatives as one that was computed in one piece.

    A step is one turn: loss, backward, optimizer. A method with parts that learn by a loss of their own takes more
    turns; each moves the parameters that its loss reaches and no others, all with the one optimizer, which passes over
    parameters without a gradient. So there is nothing besides to save for a run to be resumed.
    """

    views: ClassVar[tuple[View, ...]]
    """The views of each sample that a step needs."""
    turns: int = 1
    tasks: tuple[str, ...] = ()
    """The tasks whose labels the method learns from."""
    scaled: tuple[str, ...] = ()
    """The sequences and tables that `learn_scales` wants to see."""
    embedding_dim: int

    def __init__(self, modalities: tuple[Modality, ...]) -> None:
        super().__init__()
        self.modalities = modalities

    def forward(self, batch: Batch, when: When) -> Loss:
        return self.loss(self.features(batch, when), batch.labels, when)

    @abstractmethod
    def features(self, batch: Batch, when: When) -> Features: ...

    @abstractmethod
    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss: ...

    @abstractmethod
    def encode(self, name: str, raw: Tensor) -> Encoded:
        """A modality's inputs, which all samples are taken to have. At least one token of each, at least one sample."""

    @abstractmethod
    def combine(self, encoded: Sequence[Encoded]) -> Tensor:
        """(B, embedding_dim), of all modalities in the method's order. Takes any number of tokens from one on."""

    def embed(self, inputs: Inputs, present: Tensor) -> Tensor:
        """(B, embedding_dim). `present` (B, M): which modalities each sample has; what is absent has no influence."""
        encoded = [self.encode(each.name, inputs[each.name]) for each in self.modalities]
        return self.combine(
            [Encoded(tokens, there & present[:, m : m + 1]) for m, (tokens, there) in enumerate(encoded)]
        )

    def learn_scales(self, inputs: Inputs, labels: Mapping[str, Tensor]) -> None:
        """Takes from all training samples what the loss must know of them before the first step; for most methods
        nothing. It is kept in buffers, and so in checkpoints.

        inputs: those of `scaled` at least. labels: of the method's tasks at least.
        """

    def after_step(self) -> None:
        """Puts parameters back into their bounds after an optimizer step."""


class FusedMethod(Method):
    """Tokens of all modalities and a fusion transformer, whose output is the embedding."""

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec.dataset.modalities)
        model = spec.model
        self.tokens = Tokens(self.modalities, model, vocabulary, spec.protocol)
        self.fusion = FusionTransformer(model.dim, model.heads, model.layers)
        self.embedding_dim = model.dim

    def encode(self, name: str, raw: Tensor) -> Encoded:
        return Encoded(*self.tokens.of_one(name, raw))

    def combine(self, encoded: Sequence[Encoded]) -> Tensor:
        embedding: Tensor = self.fusion([each.tokens for each in encoded], [each.there for each in encoded])
        return embedding

    def fused(self, inputs: Inputs) -> Tensor:
        """The embedding (B, D) of samples that have every modality."""
        return self.embed(inputs, _all_present(inputs, self.modalities))


class ProjectedMethod(FusedMethod):
    """What CoMM and InfMasking share: two full views, and one projection head for all their fusions."""

    views = ("full", "full")

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        model = spec.model
        self.ignores_padding = spec.protocol == "reference"
        self.head = ProjectionHead(model.dim, model.head_hidden, model.head_out)

    def tokens_of_both(self, views: list[Inputs]) -> tuple[list[Tensor], list[Tensor] | None]:
        """Tokens of both augmentations, one after the other in the batch: one pass through each encoder.

        The published training passes no padding mask to the fusion; protocol `reference` does the same. Embedding does
        pass it, for texts; of sequences nothing is padding under that protocol.
        """
        both = {m.name: torch.cat([view[m.name] for view in views]) for m in self.modalities}
        tokens, there = self.tokens(both, len(views))
        return tokens, None if self.ignores_padding else there

    def clean_views(self, tokens: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Keep masks (M + 1, B, Lₘ) and seen modalities (M + 1, M) of each modality alone and of all together."""
        count = len(tokens)
        keep = [each.new_ones(count + 1, *each.shape[:2], dtype=torch.bool) for each in tokens]
        # Where the tokens are: to copy it there would wait for the encoders to be done.
        alone = torch.eye(count, dtype=torch.bool, device=tokens[0].device)
        return keep, torch.cat([alone, alone.new_ones(1, count)])

    def project(self, fused: Tensor) -> Tensor:
        """The head's output for fused (V, 2, B, D): (V, 2, B, out).

        Each view of each augmentation is a batch of its own to the head's batch-norms.
        """
        projected: Tensor = self.head(fused.flatten(0, 1)).unflatten(0, (-1, 2))
        return projected


def _all_present(inputs: Inputs, modalities: tuple[Modality, ...]) -> Tensor:
    first = inputs[modalities[0].name]
    return torch.ones(len(first), len(modalities), dtype=torch.bool, device=first.device)
