"""A training: what is learned on which data, by which network, with which steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from training.spec.base import Protocol, Seed, Spec, whole
from training.spec.datasets import DatasetSpec, Task
from training.spec.methods import MODALITY_COUNTS, InfMasking, MethodSpec
from training.spec.model import Model

Metric = Literal[
    "macro_accuracy",
    "accuracy",
    "top5",
    "roc_auc",
    "f1_macro",
    "f1_weighted",
    "subset_accuracy",
    "mse",
    "r2",
    "pearson",
]
METRICS: Mapping[str, tuple[Metric, ...]] = {
    "class": ("macro_accuracy", "accuracy", "top5", "roc_auc"),
    "multilabel": ("f1_macro", "f1_weighted", "macro_accuracy", "subset_accuracy"),
    "regression": ("mse", "r2", "pearson"),
}
"""What a probe of a task is scored by, by the task's type; the first is what it is chosen by."""
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
    patience: Annotated[int, whole(1, 10_000)] | None = None
    """Stop after so many probes in a row without a better one."""

    @field_validator("patience")
    @classmethod
    def _probes_there_are(cls, patience: int | None, info: ValidationInfo) -> int | None:
        if patience is not None and not info.data.get("every_epochs"):
            raise PydanticCustomError(
                "patience_without_probes", "patience counts probes, and there are none; set every_epochs"
            )
        return patience

    by: Literal["linear", "neighbours"] = "linear"
    """`linear`: probes as a probe job fits them, but for costs that are chosen among decades only. `neighbours`: the 20
    nearest training samples vote, which costs next to nothing."""
    score: Metric | None = None
    """What the best checkpoint is best in, as the mean over all tasks. By default each task's first of
    macro_accuracy, accuracy, top5, roc_auc for classes; f1_macro, f1_weighted, macro_accuracy, subset_accuracy for
    labels; mse (the less the better), r2, pearson for numbers."""

    def score_of(self, task: Task) -> Metric:
        return self.score or METRICS[task.type][0]


class TrainSpec(Spec):
    method: MethodSpec = InfMasking()
    dataset: DatasetSpec
    model: Model = Model()
    optim: Optim = Optim()
    epochs: Annotated[int, whole(1, 10_000)] = 100
    batch_size: Annotated[int, whole(2, 65_536)] = 64
    """At least 2: with one sample there is no negative, and a batch-norm has no variance."""
    micro_batch_size: Annotated[int, whole(4, 65_536)] | None = None
    """Samples computed at once, by default the whole batch. Smaller ones need less memory for the same steps: every sample
    still has all others of its batch for negatives, at the price of computing the encoders' forward pass twice."""
    processes: Annotated[int, whole(1, 64)] = 1
    """Processes that share each batch, on a GPU each, or on the CPU."""
    seed: Seed = 42
    protocol: Protocol = "strict"
    """`strict` never looks at test data before the final probe, and hides padding wherever it could be seen; `reference`
    does what the published code did: sequences are read, fused and probed at their full length, padding and all, and the
    fusion sees padded texts while it trains."""
    precision: Literal["32", "tf32", "bf16"] = "32"
    """`tf32` rounds the factors of matrix products and convolutions on a GPU, `bf16` what autocast allows. Losses are
    computed in float32 either way."""
    compile: bool = False
    """Compile the step, and capture it as a graph on a GPU: worth it where launching kernels takes longer than they run."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Probe, save and export an exponential moving average of the weights, which keeps this share of itself per step."""
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
    def _tasks_have_score(self) -> Self:
        for task in self.dataset.tasks:
            metrics = [each for each in METRICS[task.type] if each != "top5" or task.classes > 2]
            if self.probe.score is not None and self.probe.score not in metrics:
                raise PydanticCustomError(
                    "no_such_score",
                    "the task '{task}' has no {score}; it has {metrics}. Take one that all tasks have, or leave it out",
                    {
                        "task": task.name,
                        "score": self.probe.score,
                        "metrics": ", ".join(metrics),
                        "loc": "probe.score",
                    },
                )
        return self

    @model_validator(mode="after")
    def _batch_fits_data(self) -> Self:
        if self.batch_size > self.n_train:
            raise PydanticCustomError(
                "batch_too_large",
                "a batch of {batch} is more than the {n} training samples; make batch_size smaller, or n_pairs larger where the "
                "dataset has it",
                {"batch": self.batch_size, "n": self.n_train, "loc": "batch_size"},
            )
        return self

    @model_validator(mode="after")
    def _processes_share_batches(self) -> Self:
        least = 2 * self.processes
        if self.batch_size % self.processes or self.batch_size < least:
            raise PydanticCustomError(
                "batch_not_shared",
                "{processes} processes cannot share a batch of {batch} evenly, with two samples each at least; make "
                "batch_size a multiple of {processes}, and {least} or more",
                {"processes": self.processes, "batch": self.batch_size, "least": least, "loc": "batch_size"},
            )
        if self.compile and (self.processes > 1 or self.micro_batch_size is not None):
            raise PydanticCustomError(
                "compiled_in_parts",
                "a step that is computed in parts is not compiled; leave out compile, or processes and micro_batch_size",
                {"loc": "compile"},
            )
        return self

    @property
    def n_train(self) -> int:
        return self.dataset.n_train_under(self.protocol)

    @property
    def steps_per_epoch(self) -> int:
        """The last batch of an epoch may be smaller, but never a single sample, which has no negative, nor fewer than
        two for each process."""
        full, rest = divmod(self.n_train, self.batch_size)
        return full + (rest >= 2 * self.processes)

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch
