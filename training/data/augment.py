"""Random views of raw batches, as float32 and normalised: what a method is trained on.

Every sample of a batch draws its own parameters, all samples are transformed at once on the device they are on, and
a sample that a step spares gets the step's neutral parameter, so nothing branches. Random numbers come from torch's
global generators alone: whoever restores their states gets the same views again.

B batch, C channels, H = W pixels, L tokens. Images are float32 in [0, 1] between the steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from training.data import light, simclr
from training.data.changes import Parts, changed, toss
from training.data.geometry import random_resized_crop
from training.data.samples import Data, measured, normalise
from training.data.words import words_of
from training.modules.padding import is_there
from training.spec import (
    Change,
    DatasetSpec,
    Digits,
    Modality,
    Model,
    Registered,
    Trifeatures,
    encoders,
)

MASKED_TOKENS = 0.15
"""Share of a text's words that a view hides, unless its encoder says otherwise."""


class Augmenter:
    """`full`: SimCLR's views of images, small distortions of small ones, masked tokens for texts, and the changes that the
    data's card names for sequences and tables.
    `crop`: only random crops of at least half an image, as Cross is trained in the published code."""

    def __init__(
        self,
        spec: DatasetSpec,
        data: Data,
        strength: Literal["full", "crop"] = "full",
        model: Model | None = None,
    ) -> None:
        """model: says how much of each text is hidden."""
        self._normalisation = data.normalisation
        self._strength = strength
        self._words = words_of(data.tokenizer) if data.tokenizer else None
        self._masked = masked_shares(spec.modalities, model or Model())
        self._lightly = isinstance(spec, Digits) or (isinstance(spec, Trifeatures) and spec.views == "light")
        self._modalities = {modality.name: modality for modality in spec.modalities}
        self._shares_coins = isinstance(spec, Registered) and spec.card.shared_coins

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raw items, as a split gives them, to a random view of each."""
        coins = _Coins(self._shares_coins)
        return {name: self._view(self._modalities[name], items, coins) for name, items in batch.items()}

    def _view(self, modality: Modality, items: Tensor, coins: _Coins) -> Tensor:
        match modality.kind:
            case "image":
                return self._image(modality.name, items)
            case "text":
                return self._text(modality.name, items)
            case "sequence" | "table":
                return self._changed(modality, items, coins)

    def _image(self, name: str, images: Tensor) -> Tensor:
        normalisation = self._normalisation[name]
        if self._strength == "crop":
            return normalise(random_resized_crop(measured(images), 0.5), normalisation)
        if self._lightly:
            return normalise(light.view(measured(images)), normalisation)
        return simclr.view(images, normalisation)

    def _changed(self, modality: Modality, items: Tensor, coins: _Coins) -> Tensor:
        normal = normalise(items, self._normalisation.get(modality.name))
        if self._strength == "crop":
            return normal
        parts = Parts(normal, is_there(modality.kind, items))
        return changed(parts, modality.changes, lambda change: coins.of(change, normal))

    def _text(self, name: str, tokens: Tensor) -> Tensor:
        if self._strength == "crop" or self._words is None:
            return tokens
        return self._words.randomly_hidden(tokens, self._masked[name])


class _Coins:
    """Of one batch: whether each sample's view makes a change. Tossed for every modality anew, or once for all."""

    def __init__(self, shared: bool) -> None:
        self._tossed: dict[Change, Tensor] | None = {} if shared else None

    def of(self, change: Change, items: Tensor) -> Tensor:
        """(B,)."""
        if self._tossed is None:
            return toss(len(items), items)
        if change not in self._tossed:
            self._tossed[change] = toss(len(items), items)
        return self._tossed[change]


def masked_shares(modalities: Sequence[Modality], model: Model) -> dict[str, float]:
    """Text → share of its words that a full view hides: a pretrained tower's `mask_prob`, else as for captions."""
    chosen = {each.name: model.encoder_of(each) for each in modalities if each.kind == "text"}
    return {
        name: encoder.mask_prob if isinstance(encoder, encoders.PretrainedText) else MASKED_TOKENS
        for name, encoder in chosen.items()
    }
