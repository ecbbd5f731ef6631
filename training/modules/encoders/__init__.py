"""Encoders: one modality's raw input (B, …) to features of its parts (B, L, C), one file per family.

An encoder knows its number of channels `width`. Images keep their grid in `grid` (rows, columns) so that an adapter can
add positions.
"""

from __future__ import annotations

from torch import Tensor, nn

from training.modules.encoders.convolutional import AlexNetEncoder, ConvEncoder
from training.modules.encoders.force import ForceEncoder
from training.modules.encoders.resnet import ResNetEncoder
from training.modules.encoders.sequences import AffectEncoder, GRUEncoder
from training.modules.encoders.text import TextEncoder
from training.modules.encoders.vectors import MLPEncoder, ProprioceptionEncoder
from training.modules.encoders.vision_transformer import ViTEncoder
from training.spec import Modality, Model

__all__ = [
    "AffectEncoder",
    "AlexNetEncoder",
    "ConvEncoder",
    "Encoder",
    "ForceEncoder",
    "GRUEncoder",
    "ImageEncoder",
    "MLPEncoder",
    "ProprioceptionEncoder",
    "ResNetEncoder",
    "TextEncoder",
    "ViTEncoder",
    "build_encoder",
    "encode",
]

ImageEncoder = ConvEncoder | AlexNetEncoder | ResNetEncoder | ViTEncoder
Encoder = ImageEncoder | TextEncoder
"""Those that the datasets so far call for; the others wait for sequences and tables."""


def build_encoder(modality: Modality, model: Model, vocabulary: int) -> Encoder:
    if modality.kind == "text":
        return TextEncoder(vocabulary, modality.max_tokens, model.dim, model.heads)
    name = model.encoder
    if name == "auto":
        name = "alexnet" if modality.size >= 64 else "conv"
    match name:
        case "resnet18":
            return ResNetEncoder(modality.channels, modality.size, 18)
        case "resnet50":
            return ResNetEncoder(modality.channels, modality.size, 50)
        case "vit":
            return ViTEncoder(modality.channels, modality.size, modality.patch_size)
        case "alexnet":
            return AlexNetEncoder(modality.channels, modality.size)
        case _:
            return ConvEncoder(modality.channels, modality.size)


def encode(encoder: nn.Module, x: Tensor, n_views: int) -> Tensor:
    """The parts of V views that lie one after the other in the batch (V · B, …), in one pass."""
    parts: Tensor = encoder(x, n_views) if isinstance(encoder, ResNetEncoder) else encoder(x)
    return parts
