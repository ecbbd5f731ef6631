"""The network: widths that all methods share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from training.spec.base import Spec, whole
from training.spec.datasets import Modality

ALEXNET_LEAST = 63
"""Pixels below which AlexNet's poolings leave nothing."""


class Model(Spec):
    """Widths of the network. `encoder` chooses what turns an image into tokens."""

    dim: Annotated[int, whole(8, 4096)] = 512
    """Width of the tokens and of the fused embedding."""
    heads: Annotated[int, whole(1, 64)] = 8
    layers: Annotated[int, whole(1, 12)] = 1
    """Fusion blocks."""
    encoder: Literal["auto", "alexnet", "conv", "resnet18", "resnet50", "vit"] = "auto"
    """`auto`: `alexnet` for 64 pixels and up, `conv` (three layers) for smaller images. All are trained from scratch;
    `vit` is a small one: 6 layers of width 192."""
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

    def check(self, modalities: Sequence[Modality]) -> None:
        """Raises PydanticCustomError when the encoder cannot take an image of such data."""
        for image in modalities:
            if image.kind != "image":
                continue
            problem = None
            if self.encoder == "alexnet" and image.size < ALEXNET_LEAST:
                problem = f"needs images of at least {ALEXNET_LEAST} pixels"
            if self.encoder == "vit" and image.patch_size == 1:
                problem = "needs an image size with a divisor between 2 and 16"
            if problem is not None:
                raise PydanticCustomError(
                    "encoder_size",
                    "the encoder '{encoder}' {problem}, but '{image}' has {size}; take another encoder or image_size",
                    {
                        "encoder": self.encoder,
                        "problem": problem,
                        "image": image.name,
                        "size": image.size,
                        "loc": "model.encoder",
                    },
                )
