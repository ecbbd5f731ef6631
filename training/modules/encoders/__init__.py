"""Encoders: one modality's raw input (B, …) to features of its parts (B, L, C), one file per family.

An encoder knows its number of channels `width`, which of its parts are padding, and how they make one vector. Images
keep their grid in `grid` (rows, columns) so that an adapter can add positions.

Under protocol `reference` nothing of a sequence is padding, as in the published code: it is read, fused, probed and
served at the length it comes in. Under `strict` no embedding depends on how far a sequence is padded.
"""

from __future__ import annotations

from torch import Tensor

from training.modules.encoders.convolutional import AlexNetEncoder, ConvEncoder
from training.modules.encoders.encoder import Encoder
from training.modules.encoders.force import ForceEncoder
from training.modules.encoders.pretrained import PretrainedImageEncoder, PretrainedTextEncoder
from training.modules.encoders.resnet import ResNetEncoder
from training.modules.encoders.sequences import AffectEncoder, GRUEncoder, StepEncoder
from training.modules.encoders.text import TextEncoder, WordEncoder
from training.modules.encoders.vectors import ColumnsEncoder, MLPEncoder, ProprioceptionEncoder
from training.modules.encoders.vision_transformer import ViTEncoder
from training.spec import Modality, Model, Protocol
from training.spec import encoders as specs

__all__ = [
    "AffectEncoder",
    "AlexNetEncoder",
    "ColumnsEncoder",
    "ConvEncoder",
    "Encoder",
    "ForceEncoder",
    "GRUEncoder",
    "MLPEncoder",
    "PretrainedImageEncoder",
    "PretrainedTextEncoder",
    "ProprioceptionEncoder",
    "ResNetEncoder",
    "StepEncoder",
    "TextEncoder",
    "ViTEncoder",
    "WordEncoder",
    "build_encoder",
    "encode",
]


def build_encoder(
    modality: Modality, model: Model, vocabulary: int, protocol: Protocol = "strict"
) -> Encoder:
    """The modality's encoder, freshly initialised. vocabulary: token ids of its texts.

    Raises DataError when a pretrained tower is not there or does not fit the data.
    """
    match model.encoder_of(modality):
        case specs.Convolutional():
            return ConvEncoder(modality.channels, modality.size)
        case specs.AlexNet():
            return AlexNetEncoder(modality.channels, modality.size)
        case specs.ResNet18():
            return ResNetEncoder(modality.channels, modality.size, 18)
        case specs.ResNet50():
            return ResNetEncoder(modality.channels, modality.size, 50)
        case specs.ViT():
            return ViTEncoder(modality.channels, modality.size, modality.patch_size)
        case specs.PretrainedImage() as tower:
            return PretrainedImageEncoder(tower, modality.size)
        case specs.TextTransformer(layers=layers):
            return TextEncoder(vocabulary, modality.max_tokens, model.dim, model.heads, layers)
        case specs.PretrainedText() as tower:
            return PretrainedTextEncoder(tower, modality.max_tokens)
        case specs.Affect(layers=layers, dropout=dropout):
            return AffectEncoder(modality.features, layers, dropout, ignores_padding=protocol == "reference")
        case specs.GRU(width=width):
            return GRUEncoder(modality.features, width, ignores_padding=protocol == "reference")
        case specs.Force(width=width):
            return ForceEncoder(width or model.dim, modality.features)
        case specs.Columns():
            return ColumnsEncoder(modality.features)
        case specs.MLP(widths=widths):
            return MLPEncoder(modality.features, widths)
        case specs.Proprioception(width=width):
            return ProprioceptionEncoder(width or model.dim, modality.features)


def encode(encoder: Encoder, x: Tensor, n_views: int) -> Tensor:
    """The parts of V views that lie one after the other in the batch (V · B, …), in one pass."""
    parts: Tensor = encoder(x, n_views) if encoder.has_batch_norms else encoder(x)
    return parts
