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
* Of sequences, steps are hidden, and of tables columns; both take the training data's mean and are told by the squared
  error of numbers on the scale of the training data, which is 1 by guessing too.
* Views are cropped and not distorted further: MAE's paper finds that cropping alone serves it best.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from training.losses import Loss, mean_error, number_errors, word_errors
from training.methods.method import Batch, Features, FusedMethod, Inputs, When
from training.modules.by_name import ByName
from training.modules.decoders import build_decoder
from training.modules.hiding import hide, hideable
from training.modules.masking import drawn_ratios, random_hidden
from training.modules.padding import is_there
from training.modules.patches import normalised_patches, patchify
from training.modules.scaling import Scale
from training.spec import MAE as MAESpec
from training.spec import Modality, TrainSpec


class MAE(FusedMethod):
    views = ("crop",)

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, MAESpec)
        self.options = spec.method
        self.decoders = ByName(
            {
                each.name: build_decoder(each, self.options, spec.model.dim, vocabulary)
                for each in self.modalities
            }
        )
        self.scales = ByName(
            {
                each.name: Scale(each.features)
                for each in self.modalities
                if each.kind in ("sequence", "table")
            }
        )
        self.scaled = tuple(self.scales)

    def learn_scales(self, inputs: Inputs, labels: Mapping[str, Tensor]) -> None:
        for modality in self.modalities:
            if modality.name in self.scales:
                values = inputs[modality.name]
                is_sequence = modality.kind == "sequence"
                self.scale_of(modality).learn(values[is_there("sequence", values)] if is_sequence else values)

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
        """Booleans (B, L), true for what can be hidden: patches, words, steps that are no padding, columns."""
        return hideable(modality, self.tokens.encoder_of(modality.name), whole, self.grid_of(modality))

    def visible(self, modality: Modality, whole: Tensor, hidden: Tensor) -> Tensor:
        """The input without its hidden parts (B, L)."""
        mean = self.scale_of(modality).mean if modality.name in self.scales else 0.0
        encoder = self.tokens.encoder_of(modality.name)
        return hide(modality, encoder, whole, hidden, self.grid_of(modality), mean)

    def errors(self, modality: Modality, embedding: Tensor, whole: Tensor, hidden: Tensor) -> Tensor:
        """(B, 2): how badly the hidden parts (B, L) are told from the embedding (B, D), and how many they are."""
        told = self.decoders[modality.name](embedding, hidden.shape[1])
        match modality.kind:
            case "text":
                return word_errors(told, whole, hidden)
            case "image":
                target = normalised_patches(patchify(whole, self.options.patch_of(modality)))
            case "sequence":
                target = self.scale_of(modality)(whole)
            case "table":
                target = self.scale_of(modality)(whole).unsqueeze(-1)
        return number_errors(told, target, hidden)

    def grid_of(self, modality: Modality) -> tuple[int, int]:
        """Rows and columns of an image's patches."""
        rows = modality.size // self.options.patch_of(modality)
        return rows, rows

    def scale_of(self, modality: Modality) -> Scale:
        scale = self.scales[modality.name]
        assert isinstance(scale, Scale)
        return scale
