"""A training: what is learned on which data, by which network, with which steps."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from training.spec.base import Protocol, Seed, Spec, whole
from training.spec.datasets import DatasetSpec
from training.spec.methods import MODALITY_COUNTS, InfMasking, MethodSpec
from training.spec.model import Model

Beta = Annotated[float, Field(ge=0, lt=1)]


class Optim(Spec):
    """AdamW."""

    lr: Annotated[float, Field(gt=0, le=10)] = 3e-4
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """How much of the past the averages of gradients and of their squares keep. MAE's paper takes 0.9 and 0.95."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-4
    """Not applied to biases and norms."""
    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine`: per epoch, a linear warm-up to `lr`, then a cosine to `min_lr`."""
    warmup_epochs: Annotated[int, whole(0, 1000)] = 0
    min_lr: Annotated[float, Field(ge=0, le=10)] = 1e-6
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Largest gradient norm of a step; longer gradients are shortened to it."""


class Checkpoints(Spec):
    every_epochs: Annotated[int, whole(1, 10_000)] = 1
    every_steps: Annotated[int, whole(1, 10_000_000)] | None = None
    """Also inside an epoch, every so many steps."""
    keep_last: Annotated[int, whole(1, 1000)] = 3
    """The best one is kept besides."""


class IntervalProbe(Spec):
    """Linear probes while training, so that redundancy, uniqueness and synergy become curves."""

    every_epochs: Annotated[int, whole(0, 10_000)] = 0
    """0: none."""
    max_samples: Annotated[int, whole(100, 1_000_000)] = 2_000
    """Training pairs each probe is fitted on: a quick estimate. The number to report comes from a probe job."""


class TrainSpec(Spec):
    method: MethodSpec = InfMasking()
    dataset: DatasetSpec
    model: Model = Model()
    optim: Optim = Optim()
    epochs: Annotated[int, whole(1, 10_000)] = 100
    batch_size: Annotated[int, whole(2, 65_536)] = 64
    """At least 2: with one sample there is no negative, and a batch-norm has no variance."""
    seed: Seed = 42
    protocol: Protocol = "strict"
    """`strict` never looks at test data before the final probe; `reference` does what the published code did."""
    precision: Literal["32", "bf16"] = "32"
    """Losses are computed in float32 either way."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, whole(1, 256)] | None = None
    """CPU threads; by default all that this process may use."""
    log_every_steps: Annotated[int, whole(1, 100_000)] = 1
    checkpoints: Checkpoints = Checkpoints()
    probe: IntervalProbe = IntervalProbe()

    @model_validator(mode="after")
    def _method_admits_modalities(self) -> Self:
        count, admitted = len(self.dataset.modalities), MODALITY_COUNTS[self.method.name]
        if count not in admitted:
            others = [name for name, counts in MODALITY_COUNTS.items() if count in counts]
            raise PydanticCustomError(
                "modality_count",
                "method '{method}' takes {admitted} modalities but dataset '{dataset}' in the form '{form}' has "
                "{count}; choose another form, or a method that takes {count}: {others}",
                {
                    "method": self.method.name,
                    "admitted": f"{admitted.start} to {admitted.stop - 1}"
                    if len(admitted) > 1
                    else str(admitted.start),
                    "dataset": self.dataset.name,
                    "form": self.dataset.form,
                    "count": count,
                    "others": ", ".join(others),
                    "loc": "dataset.form",
                },
            )
        return self

    @model_validator(mode="after")
    def _options_fit_data(self) -> Self:
        self.method.check(self.dataset.modalities, self.dataset.tasks)
        self.model.check(self.dataset.modalities)
        return self

    @model_validator(mode="after")
    def _batch_fits_data(self) -> Self:
        if self.batch_size > self.dataset.n_train:
            raise PydanticCustomError(
                "batch_too_large",
                "a batch of {batch} is more than the {n} training samples; make batch_size smaller, or n_pairs larger where the "
                "dataset has it",
                {"batch": self.batch_size, "n": self.dataset.n_train, "loc": "batch_size"},
            )
        return self

    @property
    def steps_per_epoch(self) -> int:
        """The last batch of an epoch may be smaller, but never a single pair, which has no negative."""
        full, rest = divmod(self.dataset.n_train, self.batch_size)
        return full + (rest > 1)

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch
