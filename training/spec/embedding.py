"""Embedding a dataset: which samples, by which checkpoint, seen through which of their modalities."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from training.spec.base import RunName, Seed, Spec, whole
from training.spec.datasets import DatasetSpec, Modality, Registered, SplitName
from training.spec.train import TrainSpec

Names = Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]
MOST_SUBSETS = 32


class Misfit(NamedTuple):
    """What of a spec does not go with the training: where (below the spec), what, and what to do."""

    pointer: str
    code: str
    detail: str


def _listed(value: Any) -> Any:
    """One subset's names are a list of one subset."""
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return (tuple(value),)
    return value


class EmbedSpec(Spec):
    """Embed a whole dataset with a trained model, and keep the vectors as files that can be searched in."""

    run: RunName
    """The training run (job id) whose checkpoint embeds."""
    checkpoint: Literal["last", "best"] | Annotated[int, whole(0, 2**31)] = "last"
    """`best` by the training's own rule, `last`, or a step."""
    dataset: DatasetSpec | None = None
    """The training's own by default; another one must have the same modalities. What is standardised is standardised as the
    training was, and texts are read in its tokens."""
    splits: Annotated[tuple[SplitName, ...], Field(min_length=1, max_length=3)] | None = None
    """Of protocol `strict`; all by default. `train` has each sample as probes see it, without augmentation."""
    modalities: Annotated[
        tuple[Names, ...], Field(min_length=1, max_length=MOST_SUBSETS), BeforeValidator(_listed)
    ] | None = None  # fmt: skip
    """What of each sample is embedded, all else being absent: one subset, as `["image"]`, or several, as
    `[["image"], ["text"], ["image", "text"]]`, each of which gets vectors of its own. By default all modalities together."""
    batch_size: Annotated[int, whole(1, 65_536)] = 512
    samples_per_part: Annotated[int, whole(1, 10_000_000)] = 16_384
    """A run that is interrupted or dies goes on after the last part that was whole."""
    format: Literal["npz", "parquet"] = "npz"
    projection: Literal["none", "pca", "tsne", "umap"] = "pca"
    """Two coordinates, to be drawn: for at most 100,000 points by `pca`, 10,000 by `umap` and 5,000 by `tsne`, all subsets
    counted. The last two have those of `pca` besides, and take a minute or two."""
    seed: Seed = 42
    """Draws the samples that are projected."""
    threads: Annotated[int, whole(1, 256)] | None = None

    @field_validator("splits", "modalities")
    @classmethod
    def _none_twice(cls, named: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        each = [frozenset(one) if isinstance(one, tuple) else one for one in named or ()]
        doubled = any(isinstance(one, tuple) and len(set(one)) < len(one) for one in named or ())
        if doubled or len(set(each)) < len(each):
            raise PydanticCustomError("named_twice", "one is named twice; name each once")
        return named

    def embeds(self, trained: TrainSpec) -> DatasetSpec:
        """The dataset that is meant."""
        return self.dataset or trained.dataset

    def subsets(self, trained: TrainSpec) -> tuple[tuple[str, ...], ...]:
        """The modalities of each, in the training's order."""
        have = tuple(each.name for each in trained.dataset.modalities)
        return tuple(tuple(name for name in have if name in chosen) for chosen in self.modalities or (have,))

    def splits_of(self, trained: TrainSpec) -> tuple[SplitName, ...]:
        """In the order of `train`, `val`, `test`, whichever way they were named."""
        have = splits_there(self.embeds(trained))
        return tuple(each for each in have if self.splits is None or each in self.splits)

    def misfits(self, trained: TrainSpec) -> list[Misfit]:
        """Everything that does not go with this training."""
        dataset = self.embeds(trained)
        return [
            *_other_modalities(dataset, trained),
            *_unknown_modalities(self, trained),
            *_unknown_splits(self, dataset),
        ]


def splits_there(dataset: DatasetSpec) -> tuple[SplitName, ...]:
    """Digits and Trifeatures hold out no samples to choose by."""
    names: tuple[SplitName, ...] = ("train", "val", "test")
    have = dataset.card.samples if isinstance(dataset, Registered) else ("train", "test")
    return tuple(name for name in names if name in have)


def _other_modalities(dataset: DatasetSpec, trained: TrainSpec) -> list[Misfit]:
    have = {each.name: each for each in dataset.modalities}
    lacking = [each for each in trained.dataset.modalities if not _reads(each, have.get(each.name))]
    if not lacking:
        return []
    wanted = ", ".join(f"{each.name} ({_shape(each)})" for each in trained.dataset.modalities)
    there = ", ".join(f"{each.name} ({_shape(each)})" for each in dataset.modalities)
    return [
        Misfit(
            "/dataset",
            "other_modalities",
            f"the training reads {wanted}, and dataset '{dataset.name}' has {there}; take one whose modalities are the "
            "same in name and shape",
        )
    ]


def _reads(read: Modality, there: Modality | None) -> bool:
    """Texts may be shorter than those that the network has read; all else has the very shape."""
    if there is None or read.max_tokens < there.max_tokens:
        return False
    shape = ("kind", "channels", "size", "length", "features")
    return all(getattr(read, name) == getattr(there, name) for name in shape)


def _shape(modality: Modality) -> str:
    match modality.kind:
        case "image":
            return f"image of {modality.channels} × {modality.size} × {modality.size}"
        case "text":
            return f"text of {modality.max_tokens} tokens"
        case "sequence":
            return f"sequence of {modality.length} × {modality.features}"
        case "table":
            return f"table of {modality.features}"


def _unknown_modalities(spec: EmbedSpec, trained: TrainSpec) -> list[Misfit]:
    have = [each.name for each in trained.dataset.modalities]
    detail = f"the training has no modality {{name!r}}; it has {', '.join(have)}"
    return [
        Misfit(f"/modalities/{index}", "unknown_modality", detail.format(name=name[:60]))
        for index, subset in enumerate(spec.modalities or ())
        for name in subset
        if name not in have
    ]


def _unknown_splits(spec: EmbedSpec, dataset: DatasetSpec) -> list[Misfit]:
    have = splits_there(dataset)
    return [
        Misfit(f"/splits/{index}", "no_such_split", f"dataset '{dataset.name}' has no split {name!r}; it has {', '.join(have)}")
        for index, name in enumerate(spec.splits or ()) if name not in have
    ]  # fmt: skip
