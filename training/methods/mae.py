"""MAE, multimodal: what is hidden of the input is restored from the fused embedding of what is visible.

The tables' MAE was never published, neither code nor description, so this definition is ours, after masked autoencoders
(arXiv:2111.06377). What is theirs: three quarters of each modality are hidden, the target is each hidden patch of pixels
normalised by itself, the decoder is light and the error is of hidden patches alone. What is ours, and why:

* Pixels are hidden, before any encoder. A token of a convolutional encoder has seen far beyond its own place (195 of 224
  pixels in AlexNet), so hiding tokens would leave what is to be restored in their neighbours. Hidden pixels take the mean
  colour, since a convolution needs all places filled; encoders are the same as the other methods'.
* The decoders see nothing but the fused embedding, as in RetroMAE (arXiv:2205.12035). Given tokens as well, they would
  restore from those, and what is probed, exported and served, the embedding, would learn little.
* Of texts, words are hidden (the mask token in their place) and told by cross-entropy. Its value is divided by that of
  guessing, and the error of guessing normalised pixels is 1 as well, so modalities weigh alike.
* Views are cropped and not distorted further: MAE's paper finds that cropping alone serves it best.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from training.data.captions import MASK_ID
from training.losses import Loss, mean_error, pixel_errors, word_errors
from training.methods.method import Batch, Features, FusedMethod, When
from training.modules.decoders import build_decoder
from training.modules.masking import drawn_ratios, random_hidden
from training.modules.patches import all_patches, normalised_patches, patchify, without
from training.spec import MAE as MAESpec
from training.spec import Modality, TrainSpec


class MAE(FusedMethod):
    views = ("crop",)

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, MAESpec)
        self.options = spec.method
        self.decoders = nn.ModuleDict(
            {
                each.name: build_decoder(each, self.options, spec.model.dim, vocabulary)
                for each in self.modalities
            }
        )

    def features(self, batch: Batch, when: When) -> Features:
        whole = batch.views[0]
        ratios = drawn_ratios(self.options.mask_ratio, [each.name for each in self.modalities])
        visible, hidden = {}, {}
        for modality, ratio in zip(self.modalities, ratios, strict=True):
            name = modality.name
            hidden[name] = random_hidden(self.parts(modality, whole[name]), ratio)
            visible[name] = self.visible(modality, whole[name], hidden[name])
        embedding = self.fused(visible)
        return {
            each.name: self.errors(each, embedding, whole[each.name], hidden[each.name])
            for each in self.modalities
        }

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        return mean_error(features)

    def parts(self, modality: Modality, whole: Tensor) -> Tensor:
        """Booleans (B, L), true for each patch of an image and each word of a text that is not padding."""
        return whole != 0 if modality.kind == "text" else all_patches(whole, self.options.patch_of(modality))

    def visible(self, modality: Modality, whole: Tensor, hidden: Tensor) -> Tensor:
        """The input without its hidden parts (B, L)."""
        if modality.kind == "text":
            return whole.masked_fill(hidden, MASK_ID)
        rows = modality.size // self.options.patch_of(modality)
        return without(whole, hidden, (rows, rows))

    def errors(self, modality: Modality, embedding: Tensor, whole: Tensor, hidden: Tensor) -> Tensor:
        """(B, 2): how badly the hidden parts (B, L) are told from the embedding (B, D), and how many they are."""
        told = self.decoders[modality.name](embedding, hidden.shape[1])
        if modality.kind == "text":
            return word_errors(told, whole, hidden)
        target = normalised_patches(patchify(whole, self.options.patch_of(modality)))
        return pixel_errors(told, target, hidden)
