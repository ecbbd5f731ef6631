"""Raw inputs to tokens of one width: every modality's encoder, and behind it an adapter. B batch, D width."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.modules.adapters import FeaturesAdapter, PatchAdapter, SequenceAdapter
from training.modules.by_name import ByName
from training.modules.encoders import Encoder, TextEncoder, build_encoder, encode
from training.spec import Modality, Model, Protocol


class Tokens(nn.Module):
    """All modalities' encoders and adapters."""

    def __init__(
        self,
        modalities: tuple[Modality, ...],
        model: Model,
        vocabulary: int,
        protocol: Protocol = "strict",
    ) -> None:
        super().__init__()
        self.modalities = modalities
        encoders = {each.name: build_encoder(each, model, vocabulary, protocol) for each in modalities}
        self.encoders = ByName(encoders)
        self.adapters = ByName(
            {each.name: build_adapter(each, encoders[each.name], model) for each in modalities}
        )

    def forward(self, inputs: Mapping[str, Tensor], n_views: int = 1) -> tuple[list[Tensor], list[Tensor]]:
        """Per modality tokens (B, Lₘ, D), and booleans (B, Lₘ) that are false for padding.

        n_views: how many views lie one after the other in the batch, which an encoder's batch-norms must know.
        """
        each = [self.of_one(modality.name, inputs[modality.name], n_views) for modality in self.modalities]
        return [tokens for tokens, _ in each], [there for _, there in each]

    def encoder_of(self, name: str) -> Encoder:
        encoder = self.encoders[name]
        assert isinstance(encoder, Encoder)
        return encoder

    def of_one(self, name: str, raw: Tensor, n_views: int = 1) -> tuple[Tensor, Tensor]:
        """Of one modality, as `forward` gives them of each."""
        encoder, adapter = self.encoder_of(name), self.adapters[name]
        parts = encode(encoder, raw, n_views)
        there = encoder.there(raw, parts)
        if encoder.pooled:
            parts = encoder.summary(parts, there)[:, None]
        tokens = adapter(parts)
        if encoder.pooled or isinstance(adapter, FeaturesAdapter):
            there = torch.ones_like(tokens[..., 0], dtype=torch.bool)
        return tokens, there


def build_adapter(modality: Modality, encoder: Encoder, model: Model) -> nn.Module:
    """What makes tokens of the encoder's features. Those that have the tokens' width already and know their places are
    tokens as they are, as published; the small text transformer's are projected all the same."""
    dim = model.dim
    if encoder.grid is not None and not encoder.pooled:
        return PatchAdapter(encoder.width, dim, encoder.grid)
    width = encoder.summary_width if encoder.pooled else encoder.width
    count = model.tokens_per_number(modality)
    if count is not None:
        return FeaturesAdapter(count, dim)
    if width == dim and not isinstance(encoder, TextEncoder):
        return nn.Identity()
    return SequenceAdapter(width, dim)
