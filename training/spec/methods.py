"""The methods and their options, one class each: names, ranges, defaults and what they mean.

The defaults are the published ones; what each paper does, and where the code departs from it, stands in the docstrings
of `training.methods`. A method says here which data it admits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from training.spec.base import Spec, by_name, whole
from training.spec.datasets import Modality, Task
from training.spec.masking import MaskRatios, check_covers

Temperature = Annotated[float, Field(ge=0.001, le=10)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Width = Annotated[int, whole(8, 8192)]
MOST_PATCHES = 1024


class _Method(Spec):
    """What every method has: a name, and a say in what data it takes."""

    MODALITIES: ClassVar[range]
    """How many modalities a dataset may have."""

    def check(self, modalities: Sequence[Modality], tasks: Sequence[Task]) -> None:
        """Raises PydanticCustomError, with `loc` in its context, when the options do not fit such data."""


class InfMasking(_Method):
    """Aligns unmasked fused views with infinitely many masked ones, in closed form (arXiv:2509.25270)."""

    MODALITIES = range(2, 9)

    name: Literal["infmasking"] = "infmasking"
    temperature: Temperature = 0.1
    mask_ratio: MaskRatios = 0.7
    """Share of each modality's tokens that a masked view hides: a number; a range `{low, high}` from which every step
    draws; or either of them for each modality by name."""
    n_masks: Annotated[int, whole(1, 1024)] = 6
    """Masked views per augmentation, T."""
    mask_lambda: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Weight of the masked views' spread."""
    lambda_schedule: Literal["linear", "constant"] = "linear"
    """`linear`: the weight grows over the epochs to `mask_lambda`, as published; `constant`: it is that from the start."""
    weights: tuple[Weight, ...] | None = None
    """Weights of the loss terms [mask 1, mask 2, each modality …, fused]; all 1 by default."""
    entropy_penalty: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Reward for embeddings that spread out, by an estimate of their entropy; 0, as in all published runs: none."""
    views_per_chunk: Annotated[int, whole(1, 1024)] | None = None
    """Masked views held in memory at once: the same numbers with less memory, for twice the fusion's forward time."""

    def check(self, modalities: Sequence[Modality], tasks: Sequence[Task]) -> None:
        check_covers(self.mask_ratio, [modality.name for modality in modalities])
        terms = len(modalities) + 3
        if self.weights is not None and len(self.weights) != terms:
            raise PydanticCustomError(
                "loss_weights",
                "{given} loss weights for {terms} terms: [mask 1, mask 2, one per modality, fused]",
                {"given": len(self.weights), "terms": terms, "loc": "method.weights"},
            )


class CoMM(_Method):
    """Aligns each modality and the fusion of two augmentations (arXiv:2409.07402)."""

    MODALITIES = range(2, 9)

    name: Literal["comm"] = "comm"
    temperature: Temperature = 0.1


class Cross(_Method):
    """CLIP: aligns the two modalities of a pair and nothing else (arXiv:2103.00020)."""

    MODALITIES = range(2, 3)

    name: Literal["cross"] = "cross"
    projection_dim: Annotated[int, whole(8, 4096)] = 512
    """Width of each modality's projection; the embedding concatenates both."""


class CrossSelf(_Method):
    """Cross+Self: aligns the two modalities of a pair, and two augmentations of each."""

    MODALITIES = range(2, 3)

    name: Literal["cross_self"] = "cross_self"
    temperature: Temperature = 0.1
    ssl_scale: Weight = 1.0
    """Weight of the modalities' own alignment beside the one across."""
    head_hidden: Width = 1024
    head_out: Width = 256
    """Each modality's projection head; not part of the embedding."""


class CMC(_Method):
    """Contrastive multiview coding: aligns every two modalities of a sample (arXiv:1906.05849)."""

    MODALITIES = range(2, 9)

    name: Literal["cmc"] = "cmc"
    temperature: Temperature = 0.1
    projection_dim: Width = 256
    """Width in which modalities are compared; not part of the embedding."""


class _WithImage(_Method):
    image: str | None = None
    """The modality, an image, that is augmented; by default the first one of the data."""

    def check(self, modalities: Sequence[Modality], tasks: Sequence[Task]) -> None:
        images = [modality.name for modality in modalities if modality.kind == "image"]
        name = self.model_dump()["name"]
        if not images:
            raise PydanticCustomError(
                "no_image",
                "method '{method}' augments an image, but the data has only {modalities}; choose a dataset or form with "
                "an image, or another method",
                {
                    "method": name,
                    "modalities": ", ".join(each.name for each in modalities),
                    "loc": "dataset.form",
                },
            )
        if self.image is not None and self.image not in images:
            raise PydanticCustomError(
                "no_such_image",
                "the data has no image '{asked}'; it has {images}",
                {"asked": self.image, "images": ", ".join(images), "loc": "method.image"},
            )

    def image_of(self, modalities: Sequence[Modality]) -> Modality:
        """The modality that is meant, in data that `check` has admitted."""
        return next(each for each in modalities if each.kind == "image" and self.image in (None, each.name))


class SimCLR(_WithImage):
    """Aligns two augmentations of one image and sees no other modality (arXiv:2002.05709)."""

    MODALITIES = range(1, 9)

    name: Literal["simclr"] = "simclr"
    temperature: Temperature = 0.1
    head_hidden: Width = 4096
    head_out: Width = 256
    """The projection head; not part of the embedding."""


class SLIP(_WithImage):
    """CLIP, and SimCLR on its images (arXiv:2112.12750)."""

    MODALITIES = range(2, 3)

    name: Literal["slip"] = "slip"
    projection_dim: Annotated[int, whole(8, 4096)] = 512
    """Width of each modality's projection; the embedding concatenates both."""
    temperature: Temperature = 0.1
    """Of the two augmented images; the temperature between modalities is learned."""
    ssl_scale: Weight = 1.0
    """Weight of the images' own alignment beside the one across."""
    head_hidden: Width = 4096
    head_out: Width = 256
    """The augmented images' projection head; not part of the embedding."""


class FactorCL(_Method):
    """Factorises what two modalities share from what is unique to each, by bounds of information (arXiv:2306.05268)."""

    MODALITIES = range(2, 3)

    name: Literal["factorcl"] = "factorcl"
    augmentation: Literal["independent", "conditional"] = "independent"
    """Of the second modality: as of the first, or such that also those of its parts are hidden that the first tells of
    already (the paper's optimal augmentation)."""
    hidden_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the second modality's parts that `conditional` hides."""
    critic_hidden: Width = 512
    """Width of the critics' two hidden layers."""
    critic_steps: Annotated[int, whole(1, 10)] = 1
    """Steps of the upper bounds' critics after each step of the representation."""


class MAE(_Method):
    """Multimodal masked autoencoder: restores hidden pixels and words from the fused embedding of what is visible.

    The tables' MAE is unpublished; this definition is ours, after arXiv:2111.06377.
    """

    MODALITIES = range(2, 9)

    name: Literal["mae"] = "mae"
    mask_ratio: MaskRatios = 0.75
    """Share of each modality's patches or words that is hidden: a number above 0; a range `{low, high}` from which every
    step draws; or either of them for each modality by name."""
    patch_size: Annotated[int, whole(2, 64)] | None = None
    """Pixels along a patch's side; by default the largest divisor of the image's side up to 16 that leaves at least
    4 × 4 patches, or 3 × 3 where none does."""
    decoder_dim: Annotated[int, whole(8, 1024)] = 256
    decoder_layers: Annotated[int, whole(1, 12)] = 2
    decoder_heads: Annotated[int, whole(1, 64)] = 8
    """The decoder of each modality, which is thrown away after training."""

    @field_validator("mask_ratio")
    @classmethod
    def _something_is_hidden(cls, ratio: MaskRatios) -> MaskRatios:
        for each in ratio.values() if isinstance(ratio, dict) else [ratio]:
            if (each if isinstance(each, float | int) else each.low) < 0.01:
                raise PydanticCustomError(
                    "nothing_hidden", "there is nothing to restore when nothing is hidden; take at least 0.01"
                )
        return ratio

    @field_validator("decoder_heads")
    @classmethod
    def _heads_divide_dim(cls, heads: int, info: ValidationInfo) -> int:
        dim = info.data.get("decoder_dim")
        if dim is not None and (dim % heads or dim % 4):
            raise PydanticCustomError(
                "decoder_width",
                "the decoder's width {dim} must be a multiple of 4, for its positions, and of its {heads} heads",
                {"dim": dim, "heads": heads},
            )
        return heads

    def check(self, modalities: Sequence[Modality], tasks: Sequence[Task]) -> None:
        check_covers(self.mask_ratio, [modality.name for modality in modalities])
        for modality in modalities:
            if modality.kind == "image":
                self._check_patches(modality)

    def patch_of(self, modality: Modality) -> int:
        """Pixels along the side of the patches of an image."""
        return self.patch_size or modality.patch_size

    def _check_patches(self, image: Modality) -> None:
        side = self.patch_of(image)
        if image.size % side:
            raise PydanticCustomError(
                "patch_size",
                "patches of {side} pixels do not divide the {size} pixels of '{image}'; take one of {divisors}",
                {
                    "side": side,
                    "size": image.size,
                    "image": image.name,
                    "divisors": ", ".join(str(n) for n in range(2, 65) if image.size % n == 0) or "nothing",
                    "loc": "method.patch_size",
                },
            )
        count = (image.size // side) ** 2
        if side == 1 or not 2 <= count <= MOST_PATCHES:
            raise PydanticCustomError(
                "patch_count",
                "'{image}' of {size} pixels has {count} patches of {side} × {side}; there must be 2 to {most} of at "
                "least 2 × 2: take another patch_size, or an image size with more divisors",
                {
                    "image": image.name,
                    "size": image.size,
                    "count": count,
                    "side": side,
                    "most": MOST_PATCHES,
                    "loc": "method.patch_size",
                },
            )


class Supervised(_Method):
    """Learns the tasks' labels themselves: an upper bound for the methods that see none, not one of them."""

    MODALITIES = range(1, 9)

    name: Literal["supervised"] = "supervised"
    tasks: tuple[str, ...] | None = None
    """The tasks to learn, each with a linear head; all of the dataset by default."""

    @field_validator("tasks")
    @classmethod
    def _some_and_none_twice(cls, tasks: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if tasks is not None and (not tasks or len(set(tasks)) < len(tasks)):
            raise PydanticCustomError(
                "tasks", "name at least one task, and none twice; or leave `tasks` out to learn all"
            )
        return tasks

    def check(self, modalities: Sequence[Modality], tasks: Sequence[Task]) -> None:
        have = [task.name for task in tasks]
        unknown = [name for name in self.tasks or () if name not in have]
        if unknown:
            raise PydanticCustomError(
                "no_such_task",
                "the data has no task '{asked}'; it has {tasks}",
                {"asked": unknown[0], "tasks": ", ".join(have), "loc": "method.tasks"},
            )


Options = InfMasking | CoMM | Cross | CrossSelf | CMC | SimCLR | SLIP | FactorCL | MAE | Supervised
MethodSpec = Annotated[Options, Field(discriminator="name"), BeforeValidator(by_name)]
METHODS: dict[str, type[Options]] = {
    "infmasking": InfMasking,
    "comm": CoMM,
    "cross": Cross,
    "cross_self": CrossSelf,
    "cmc": CMC,
    "simclr": SimCLR,
    "slip": SLIP,
    "factorcl": FactorCL,
    "mae": MAE,
    "supervised": Supervised,
}
MODALITY_COUNTS: dict[str, range] = {name: method.MODALITIES for name, method in METHODS.items()}
