"""What the methods without fusion share: a tower per modality, and an embedding that puts them side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.methods.method import Encoded, Inputs, Method
from training.modules.by_name import ByName
from training.modules.encoders import build_encoder
from training.modules.pooling import Pooled
from training.spec import Modality, TrainSpec


class TowerMethod(Method):
    """The embedding is every modality's pooled encoder output, before any head; zeros stand for an absent one."""

    def __init__(
        self, spec: TrainSpec, vocabulary: int, modalities: tuple[Modality, ...] | None = None
    ) -> None:
        """modalities: those that the method sees; all of the dataset by default."""
        super().__init__(modalities or spec.dataset.modalities)
        self.pooled = ByName(
            {
                each.name: Pooled(build_encoder(each, spec.model, vocabulary, spec.protocol))
                for each in self.modalities
            }
        )
        self.embedding_dim = sum(self.widths)

    @property
    def widths(self) -> list[int]:
        return [pooled.width for pooled in self.pooled.values() if isinstance(pooled, Pooled)]

    def encoded(self, inputs: Inputs, n_views: int = 1) -> list[Tensor]:
        """Per modality (V · B, width) of V views that lie one after the other in the batch."""
        return [self.pooled[each.name](inputs[each.name], n_views) for each in self.modalities]

    def encoded_views(self, views: Sequence[Inputs]) -> list[Tensor]:
        """Per modality (V, B, width) of V views, in one pass through each encoder."""
        names = [each.name for each in self.modalities]
        together = {name: torch.cat([view[name] for view in views]) for name in names}
        encoded = self.encoded(together, len(views))
        return [each.unflatten(0, (len(views), -1)) for each in encoded]

    def encode(self, name: str, raw: Tensor) -> Encoded:
        return as_token(self.pooled[name](raw))

    def combine(self, encoded: Sequence[Encoded]) -> Tensor:
        return side_by_side(encoded)


def as_token(pooled: Tensor) -> Encoded:
    """A modality's one vector (B, width) as its only token."""
    return Encoded(pooled[:, None], torch.ones_like(pooled[:, :1], dtype=torch.bool))


def side_by_side(encoded: Sequence[Encoded]) -> Tensor:
    """(B, sum of widths): each modality's only token, zeros where a sample has none. Tokens that are not there may stand
    beside it."""
    return torch.cat([(tokens * there[..., None]).sum(1) for tokens, there in encoded], dim=1)
