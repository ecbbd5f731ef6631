"""The encoders and their options, one class each: what turns a modality's raw input into features of its parts.

Pretrained towers are named as on the Hugging Face hub, `owner/name`; where their files are found stands in
docs/configuration.md.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from training.spec.base import Spec, by_name, whole

Kind = Literal["image", "text", "sequence", "table"]
Source = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$")
]
Width = Annotated[int, whole(4, 4096)]
Tokens = Literal["one", "per_feature"]


class _Encoder(Spec):
    KIND: ClassVar[Kind]
    """What it reads."""


class Convolutional(_Encoder):
    """Three 3 × 3 convolutions, for small images."""

    KIND = "image"
    name: Literal["conv"] = "conv"


class AlexNet(_Encoder):
    """AlexNet's convolutions, from scratch."""

    KIND = "image"
    name: Literal["alexnet"] = "alexnet"


class ResNet18(_Encoder):
    """ResNet-18, from scratch."""

    KIND = "image"
    name: Literal["resnet18"] = "resnet18"


class ResNet50(_Encoder):
    """ResNet-50, from scratch."""

    KIND = "image"
    name: Literal["resnet50"] = "resnet50"


class ViT(_Encoder):
    """A small vision transformer, from scratch: 6 layers of width 192."""

    KIND = "image"
    name: Literal["vit"] = "vit"


class PretrainedImage(_Encoder):
    """A pretrained image tower of the `transformers` library: ViT, CLIP's vision tower, ResNet."""

    KIND = "image"
    name: Literal["pretrained_image"] = "pretrained_image"
    source: Source
    """`openai/clip-vit-base-patch32`, or a folder of that name under FUSEBOX_PRETRAINED_DIR."""
    frozen: bool = True
    """Its weights stay as they are; what follows it learns."""
    output: Literal["tokens", "pooled"] = "tokens"
    """Every patch's features, or the one vector that the tower makes of the image."""


class TextTransformer(_Encoder):
    """A small transformer on byte-level BPE tokens, from scratch."""

    KIND = "text"
    name: Literal["text_transformer"] = "text_transformer"
    layers: Annotated[int, whole(1, 12)] = 2


class PretrainedText(_Encoder):
    """A pretrained text tower of the `transformers` library whose padding token has id 0: BERT, DistilBERT."""

    KIND = "text"
    name: Literal["pretrained_text"] = "pretrained_text"
    source: Source
    """`sentence-transformers/clip-ViT-B-32-multilingual-v1`, or a folder of that name under FUSEBOX_PRETRAINED_DIR."""
    frozen: bool = True
    """Its weights stay as they are. While training its dropout stays active, as published."""
    output: Literal["tokens", "pooled"] = "tokens"
    """Every token's features, or their mean (and the tower's own projection where it has one)."""
    mask_prob: Annotated[float, Field(ge=0, le=0.9)] = 0.15
    """Share of a text's tokens that an augmented view hides."""


class Affect(_Encoder):
    """MultiBench's transformer for MOSI, UR-FUNNY and MUSTARD: width 40, without positions of its own. Under protocol
    `reference`, as published, it attends to padding, and one vector is the last step's; else the mean over steps."""

    KIND = "sequence"
    name: Literal["affect"] = "affect"
    layers: Annotated[int, whole(1, 24)] = 5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class GRU(_Encoder):
    """A gated recurrent unit; every step's output is a part, and the last one's is the one vector."""

    KIND = "sequence"
    name: Literal["gru"] = "gru"
    width: Width = 128


class Force(_Encoder):
    """Five causal convolutions, 32 readings of a sensor to one part."""

    KIND = "sequence"
    name: Literal["force"] = "force"
    width: Width | None = None
    """By default `model.dim`."""
    tokens: Tokens = "one"
    """The part is one token, or each of its numbers is."""


class Columns(_Encoder):
    """No encoder: every column of a table is a part of its own."""

    KIND = "table"
    name: Literal["columns"] = "columns"


class MLP(_Encoder):
    """Linear layers with ReLU between."""

    KIND = "table"
    name: Literal["mlp"] = "mlp"
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=12)] = (64, 64)
    tokens: Tokens = "one"
    """The last layer's output is one token, or each of its numbers is."""


class Proprioception(_Encoder):
    """A robot's state through five linear layers with leaky ReLU."""

    KIND = "table"
    name: Literal["proprioception"] = "proprioception"
    width: Width | None = None
    """By default `model.dim`."""
    tokens: Tokens = "one"
    """The output is one token, or each of its numbers is."""


Encoders = (
    Convolutional
    | AlexNet
    | ResNet18
    | ResNet50
    | ViT
    | PretrainedImage
    | TextTransformer
    | PretrainedText
    | Affect
    | GRU
    | Force
    | Columns
    | MLP
    | Proprioception
)
EncoderSpec = Annotated[Encoders, Field(discriminator="name"), BeforeValidator(by_name)]
