"""What a runner says while it works: one JSON object per line in RUN_DIR/events.jsonl.

The trainer, the probe and the exporter write events; the service's ingest reads them into rows; a person can read
them with `tail -f`. Only complete lines count. A resumed run appends to the same file: its `started` event names
the step it continues from, and whatever an earlier attempt said about later steps is void.
"""

from __future__ import annotations

import math
import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Outcome = Literal["succeeded", "failed", "interrupted"]
FailureCode = Literal["invalid_spec", "data_error", "non_finite_loss", "out_of_memory", "parity", "internal"]
Family = Literal["redundancy", "uniqueness", "synergy", "other"]
Detail = float | list[float] | list[list[float]]
"""A number, the ends of an interval, or a matrix by rows."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    at: float = Field(default_factory=time.time)
    """Seconds since 1970."""


class Started(_Event):
    type: Literal["started"] = "started"
    total_steps: int
    resumed_from_step: int = 0
    device: str
    code_version: str


class Progress(_Event):
    """How far the work is. `unit` says what a step is: an optimizer step, a solve, a compared batch."""

    type: Literal["progress"] = "progress"
    phase: str
    step: int
    total: int
    epoch: int | None = None
    rate: float | None = None
    """Steps per second, smoothed."""


class Metrics(_Event):
    """Values at one step, by name. JSON has no NaN: a non-finite value is listed by its kind instead."""

    type: Literal["metrics"] = "metrics"
    step: int
    epoch: int
    values: dict[str, float] = {}
    nonfinite: dict[str, Literal["nan", "inf", "-inf"]] = {}

    @classmethod
    def of(cls, step: int, epoch: int, values: dict[str, float]) -> Metrics:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        rest = {name: _kind(value) for name, value in values.items() if not math.isfinite(value)}
        return cls(step=step, epoch=epoch, values=finite, nonfinite=rest)


class CheckpointSaved(_Event):
    type: Literal["checkpoint"] = "checkpoint"
    step: int
    epoch: int
    path: str
    """Relative to the run directory."""
    sha256: str
    """Of the weights file."""
    size_bytes: int
    score: float | None = None
    """What 'best' compares, by the rule the spec names; greater is better."""
    is_best: bool = False
    kept_steps: tuple[int, ...]
    """The steps whose checkpoints exist after this one was written and older ones were removed."""


class Result(_Event):
    """One number of a probe: what was asked (task, family), how (protocol, metric, split, seed) and of how many."""

    type: Literal["result"] = "result"
    model_job_id: str
    checkpoint_step: int
    dataset: str
    task: str
    family: Family
    metric: str
    split: Literal["train", "selection", "test"]
    protocol: Literal["reference", "strict"]
    seed: int
    value: float
    chance: float | None = None
    """What guessing would give in this metric."""
    n: int
    """Samples the value was computed on."""
    details: dict[str, Detail] = {}
    """How it came about: `cost` or `alpha` of the probe, what that was chosen by (`selection_…`), `n_train` samples;
    `ci95`, the ends of the bootstrap's 95 % interval; `confusion`, samples by their class and the predicted one."""


class HeadKept(_Event):
    """A task's fitted probe stands complete in RUN_DIR/heads."""

    type: Literal["head"] = "head"
    task: str
    sha256: str
    """Of its manifest, and so of all of it."""


class Exported(_Event):
    """A model bundle stands complete in RUN_DIR/export."""

    type: Literal["exported"] = "exported"
    name: str
    max_abs_diff: float


class EmbeddingsKept(_Event):
    """A dataset's embeddings stand complete in RUN_DIR/embeddings."""

    type: Literal["embedded"] = "embedded"
    sha256: str
    """Of their manifest, and so of all of it."""
    count: int
    """Samples."""
    dim: int


class Message(_Event):
    type: Literal["message"] = "message"
    level: Literal["info", "warning", "error"] = "info"
    text: str


class Unusable(_Event):
    """Samples of a dataset that cannot be registered, for one reason."""

    type: Literal["unusable"] = "unusable"
    reason: str
    count: int
    ids: tuple[str, ...]
    """The first of them, as the source names them."""


class Done(_Event):
    """The last word of an attempt. An attempt that ends without it died."""

    type: Literal["done"] = "done"
    outcome: Outcome
    step: int
    code: FailureCode | None = None
    text: str = ""


Event = Annotated[
    Started
    | Progress
    | Metrics
    | CheckpointSaved
    | Result
    | HeadKept
    | Exported
    | EmbeddingsKept
    | Message
    | Unusable
    | Done,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: str | bytes) -> Event:
    """Raises pydantic.ValidationError when the line is not an event."""
    return EVENT.validate_json(line)


def _kind(value: float) -> Literal["nan", "inf", "-inf"]:
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"
