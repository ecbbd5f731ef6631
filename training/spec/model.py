"""The network: widths that all methods share, and which encoder reads which modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from training.spec.base import Spec, whole
from training.spec.datasets import Modality
from training.spec.encoders import (
    GRU,
    MLP,
    AlexNet,
    Columns,
    Convolutional,
    Encoders,
    EncoderSpec,
    Force,
    PretrainedImage,
    PretrainedText,
    Proprioception,
    ResNet18,
    ResNet50,
    TextTransformer,
    ViT,
)

ALEXNET_LEAST = 63
"""Pixels below which AlexNet's poolings leave nothing."""
FORCE_READINGS = 32
"""Steps that the force encoder makes one part of."""
MOST_TOKENS = 1024
"""Of one modality whose numbers become a token each: attention takes memory by their square."""
IMAGE_ENCODERS: Mapping[str, Encoders] = {
    each.name: each for each in (Convolutional(), AlexNet(), ResNet18(), ResNet50(), ViT())
}


class Model(Spec):
    """Widths of the network, and its encoders."""

    dim: Annotated[int, whole(8, 4096)] = 512
    """Width of the tokens and of the fused embedding."""
    heads: Annotated[int, whole(1, 64)] = 8
    layers: Annotated[int, whole(1, 12)] = 1
    """Fusion blocks."""
    encoder: Literal["auto", "alexnet", "conv", "resnet18", "resnet50", "vit"] = "auto"
    """Of all images. `auto`: what is usual for the data; else `alexnet` for 64 pixels and up, `conv` (three layers) for
    smaller images. All are trained from scratch; `vit` is a small one: 6 layers of width 192."""
    encoders: Mapping[str, EncoderSpec] = {}
    """Of single modalities, by name: an encoder's name, or an object with its name and options. The others have what is
    usual for the data."""
    head_hidden: Annotated[int, whole(8, 8192)] = 512
    head_out: Annotated[int, whole(8, 4096)] = 256
    """Projection head of CoMM and InfMasking; not part of the embedding. Other methods bring the sizes of their own."""

    @field_validator("heads")
    @classmethod
    def _heads_divide_dim(cls, heads: int, info: ValidationInfo) -> int:
        dim = info.data.get("dim")
        if dim is not None and dim % heads:
            choices = ", ".join(str(n) for n in range(1, 65) if dim % n == 0)
            raise PydanticCustomError(
                "heads_do_not_divide_dim",
                "{heads} heads do not divide the width {dim}; take one of {choices}",
                {"heads": heads, "dim": dim, "choices": choices},
            )
        return heads

    @field_validator("dim")
    @classmethod
    def _dim_fits_positions(cls, dim: int) -> int:
        if dim % 4:
            raise PydanticCustomError(
                "dim_not_multiple_of_4",
                "the 2-D position embedding needs a width that 4 divides; {dim} is not, take {near}",
                {"dim": dim, "near": dim + 4 - dim % 4},
            )
        return dim

    def encoder_of(self, modality: Modality) -> Encoders:
        """By what is said for it, for all images, in its data, or by its kind."""
        if modality.name in self.encoders:
            return self.encoders[modality.name]
        if modality.kind == "image" and self.encoder != "auto":
            return IMAGE_ENCODERS[self.encoder]
        return modality.encoder or _usual(modality)

    def check(self, modalities: Sequence[Modality]) -> None:
        """Raises PydanticCustomError when an encoder cannot take what such data gives it."""
        names = [each.name for each in modalities]
        unknown = [name for name in self.encoders if name not in names]
        if unknown:
            raise PydanticCustomError(
                "no_such_modality",
                "the data has no modality '{asked}'; it has {names}",
                {"asked": unknown[0], "names": ", ".join(names), "loc": f"model.encoders.{unknown[0]}"},
            )
        for modality in modalities:
            problem = _misfit(self.encoder_of(modality), modality) or self._too_many(modality)
            if problem is not None:
                raise PydanticCustomError(
                    "encoder_size",
                    "the encoder '{encoder}' {problem}; take another encoder{remedy}",
                    {
                        "encoder": self.encoder_of(modality).name,
                        "problem": problem,
                        "remedy": " or image_size" if modality.kind == "image" else "",
                        "loc": "model.encoder"
                        if modality.kind == "image" and modality.name not in self.encoders
                        else f"model.encoders.{modality.name}",
                    },
                )
        self._check_texts([each for each in modalities if each.kind == "text"])

    def tokens_per_number(self, modality: Modality) -> int | None:
        """How many tokens a modality has whose numbers become a token each; none where its parts do."""
        match self.encoder_of(modality):
            case Columns():
                return modality.features
            case MLP(tokens="per_feature", widths=widths):
                return widths[-1]
            case Proprioception(tokens="per_feature", width=width):
                return width or self.dim
            case Force(tokens="per_feature", width=width):
                return modality.length // FORCE_READINGS * (width or self.dim)
            case _:
                return None

    def _too_many(self, modality: Modality) -> str | None:
        count = self.tokens_per_number(modality)
        if count is None or count <= MOST_TOKENS:
            return None
        return f"would make {count} tokens of '{modality.name}', one of each number, and {MOST_TOKENS} are the most"

    def _check_texts(self, texts: Sequence[Modality]) -> None:
        """All texts of a dataset are tokenised alike."""
        chosen = {each.name: self.encoder_of(each) for each in texts}
        sources = {
            name: encoder.source if isinstance(encoder, PretrainedText) else None
            for name, encoder in chosen.items()
        }
        if len(set(sources.values())) > 1:
            one = next(iter(sources))
            other = next(name for name, source in sources.items() if source != sources[one])
            raise PydanticCustomError(
                "tokenizers",
                "the texts of a dataset share one tokenizer, but '{one}' and '{other}' have encoders with different ones; "
                "give both the same tower, or neither",
                {"one": one, "other": other, "loc": f"model.encoders.{other}"},
            )


def _usual(modality: Modality) -> Encoders:
    match modality.kind:
        case "image":
            return AlexNet() if modality.size >= 64 else Convolutional()
        case "text":
            return TextTransformer()
        case "sequence":
            return GRU()
        case "table":
            return Columns()


def _misfit(encoder: Encoders, modality: Modality) -> str | None:
    """What is wrong with giving the encoder this modality."""
    name = modality.name
    if modality.kind != encoder.KIND:
        return f"reads a modality of the kind {encoder.KIND}, but '{name}' is of the kind {modality.kind}"
    if isinstance(encoder, AlexNet) and modality.size < ALEXNET_LEAST:
        return f"needs images of at least {ALEXNET_LEAST} pixels, but '{name}' has {modality.size}"
    if isinstance(encoder, ViT) and modality.patch_size == 1:
        return f"needs an image size with a divisor between 2 and 16, but '{name}' has {modality.size}"
    if isinstance(encoder, PretrainedImage) and modality.channels != 3:
        return f"reads images of three colours, but '{name}' has {modality.channels}"
    if isinstance(encoder, Force) and modality.length % FORCE_READINGS:
        return f"needs a multiple of {FORCE_READINGS} steps, but '{name}' has {modality.length}"
    return None
