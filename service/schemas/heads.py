"""Probe heads of published models: which to attach, and what is attached."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from models_store.heads import HeadManifest
from service.tables import ModelHead

MOST_TASKS = 1_000
Task = Annotated[str, Field(min_length=1, max_length=100)]
TaskType = Literal["class", "multilabel", "regression"]


class NewHeads(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    probe_job_id: Annotated[str, Field(min_length=1, max_length=100)]
    """A probe that has succeeded, of the very checkpoint that the model was exported from."""
    tasks: Annotated[list[Task], Field(min_length=1, max_length=MOST_TASKS)] | None = None
    """All that it probed by default."""


class HeadFacts(BaseModel):
    """What a head answers, how well, and where it comes from."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    task: str
    type: TaskType
    family: str
    outputs: int
    """Classes of which one is right, labels of which any may be, or numbers."""
    metric: str | None
    """What `value` is: macro_accuracy of classes, f1_macro of labels, mse of numbers; none where it is not defined."""
    value: float | None
    """On test samples that the head was not fitted on."""
    ci95: tuple[float, float] | None
    """The ends of the bootstrap's 95 % interval."""
    chance: float | None
    """What guessing would give."""
    n_test: int
    n_train: int
    protocol: str
    seed: int
    dataset: str
    dataset_sha256: str
    random_crops: bool
    """Whether images were cropped at random when it was fitted and scored, as published; what is served is not."""
    probe_job_id: str
    sha256: str
    """Of the head's manifest, which holds that of its weights."""

    @classmethod
    def told_by(cls, head: HeadManifest, sha256: str) -> dict[str, Any]:
        """All of these fields that the manifest tells."""
        score = None if head.metric is None else head.scores[head.metric]
        return {
            **{name: getattr(head, name) for name in ("task", "type", "family", "outputs", "metric")},
            **head.source.model_dump(include=set(cls.model_fields)),
            "value": score and score.value,
            "ci95": score and score.ci95,
            "chance": score and score.chance,
            "sha256": sha256,
        }


class ScoreOut(BaseModel):
    value: float
    ci95: tuple[float, float] | None
    chance: float | None


class HeadOut(HeadFacts):
    scores: dict[str, ScoreOut]
    """By metric."""
    cost: float
    """Of the regression, as it was chosen; of a ridge regression the alpha."""
    checkpoint_sha256: str
    code_version: str
    attached_by: str
    attached_at: datetime

    @classmethod
    def of(cls, row: ModelHead) -> Self:
        head = HeadManifest.model_validate(row.manifest)
        return cls(
            **cls.told_by(head, row.sha256),
            scores=row.manifest["scores"],
            attached_by=row.attached_by,
            attached_at=row.attached_at,
        )


class HeadList(BaseModel):
    data: list[HeadOut]
