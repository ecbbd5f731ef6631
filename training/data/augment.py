"""Random views of raw batches, as float32 and normalised: what a method is trained on.

Every sample of a batch draws its own parameters, all samples are transformed at once on the device they are on, and
a sample that a step spares gets the step's neutral parameter, so nothing branches. Random numbers come from torch's
global generators alone: whoever restores their states gets the same views again.

B batch, C channels, H = W pixels, L tokens. Images are float32 in [0, 1] between the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from training.data import light, simclr
from training.data.captions import MASK_ID
from training.data.geometry import random_resized_crop
from training.data.samples import Data, normalise
from training.spec import Digits, Trifeatures

MASKED_TOKENS = 0.15
"""Share of a caption's tokens that a view hides."""


class Augmenter:
    """`full`: SimCLR's views for Trifeatures, small distortions for digits, masked tokens for texts.
    `crop`: only random crops of at least half an image, as Cross is trained in the published code."""

    def __init__(
        self, spec: Digits | Trifeatures, data: Data, strength: Literal["full", "crop"] = "full"
    ) -> None:
        self._normalisation = data.normalisation
        self._strength = strength
        self._distort = light.view if isinstance(spec, Digits) else simclr.view

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Images uint8 (B, C, H, H), tokens int64 (B, L), to a random view of each."""
        return {
            name: self._image(items) if items.dtype == torch.uint8 else self._text(items)
            for name, items in batch.items()
        }

    def _image(self, images: Tensor) -> Tensor:
        pixels = images.float() / 255
        view = random_resized_crop(pixels, 0.5) if self._strength == "crop" else self._distort(pixels)
        return normalise(view, self._normalisation)

    def _text(self, tokens: Tensor) -> Tensor:
        if self._strength == "crop":
            return tokens
        hidden = (torch.rand(tokens.shape, device=tokens.device) < MASKED_TOKENS) & (tokens > MASK_ID)
        return tokens.masked_fill(hidden, MASK_ID)
