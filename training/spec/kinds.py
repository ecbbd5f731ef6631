"""The kinds of run: train, probe, export, embed; and a spec's fingerprint."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from models_store.manifest import Precision
from training.spec.base import Penalty, Protocol, RunName, Seed, Spec, whole
from training.spec.embedding import EmbedSpec
from training.spec.train import TrainSpec


class ProbeSpec(Spec):
    """Fit linear probes on the embeddings of a trained model and score them on test data."""

    run: RunName
    """The training run (job id) whose checkpoint is probed."""
    checkpoint: Literal["last", "best"] | Annotated[int, whole(0, 2**31)] = "last"
    """`best` by the training's own rule, `last`, or a step."""
    tasks: tuple[str, ...] | None = None
    """All tasks of the dataset by default."""
    protocol: Protocol = "strict"
    seed: Seed = 42
    """Draws the training samples that are held out to choose by, and the resamples of the test samples."""
    penalty: Penalty = "norm"
    """Of the classifiers of tasks of classes; those of labels have the square."""
    threads: Annotated[int, whole(1, 256)] | None = None


class ExportSpec(Spec):
    """Write a trained model as ONNX, compare it with torch, and publish it under a name."""

    run: RunName
    checkpoint: Literal["last", "best"] | Annotated[int, whole(0, 2**31)] = "last"
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    """Lower-case letters, digits, dot, dash and underscore. Each export under a name is a new version of it."""
    tolerance: Annotated[float, Field(gt=0, le=0.01)] = 1e-4
    """Largest difference to torch, in any number of any embedding, with which a model may be published."""
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("fp32", "int8")
    """What the model can be had in. Always in fp32; int8 is faster on a CPU, and fp16 on a GPU."""
    min_cosine: Annotated[float, Field(ge=0, le=1)] = 0.99
    """A precision in which any held-out embedding is less similar than this to that of fp32 is withheld."""
    max_score_drop: Annotated[float, Field(ge=0, le=1)] = 0.02
    """So is one in which a probe that was fitted on fp32 scores worse by more than this, on any task: where all embeddings
    point nearly the same way, what tells them apart may be lost though their cosines are near 1."""
    threads: Annotated[int, whole(1, 256)] | None = None

    @field_validator("precisions")
    @classmethod
    def _has_fp32(cls, precisions: tuple[Precision, ...]) -> tuple[Precision, ...]:
        if "fp32" not in precisions:
            raise PydanticCustomError(
                "fp32_missing",
                "every model is published in fp32; give it beside {given}",
                {"given": ", ".join(precisions)},
            )
        if len(set(precisions)) < len(precisions):
            raise PydanticCustomError("precision_twice", "each precision once", {})
        return ("fp32", *(each for each in precisions if each != "fp32"))


Kind = Literal["train", "probe", "export", "embed"]
AnySpec = TrainSpec | ProbeSpec | ExportSpec | EmbedSpec
SPECS: dict[Kind, type[TrainSpec] | type[ProbeSpec] | type[ExportSpec] | type[EmbedSpec]] = {
    "train": TrainSpec,
    "probe": ProbeSpec,
    "export": ExportSpec,
    "embed": EmbedSpec,
}


def spec_hash(spec: AnySpec, *, with_seed: bool = True) -> str:
    """Equal for equal work. Without the seed it names the group whose members differ by their seed only."""
    content = spec.model_dump(mode="json")
    if not with_seed:
        content.pop("seed", None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
