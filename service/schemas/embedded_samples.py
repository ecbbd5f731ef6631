"""Samples of an embedded dataset, to be drawn as points and to be looked at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.samples import Labels, Shown
from training.spec.datasets import SplitName

MOST_ROWS = 100


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class PointLabels(_Told):
    """What a task says of each point."""

    task: str
    type: Literal["class", "multilabel", "regression"]
    names: list[str]
    """Of its classes, labels or numbers."""
    values: list[int] | list[list[int]] | list[list[float]]
    """Of each point the place of its class among `names`, the places of its labels, or its numbers."""


class Points(_Told):
    """The samples that `projection.json` has coordinates of, in its order."""

    job_id: str
    row: list[int]
    """In the files of the embeddings."""
    sample: list[int]
    """Places in the dataset."""
    tasks: list[PointLabels]


class RowsAsked(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    row: Annotated[list[Annotated[int, Field(ge=0, le=2**62)]], Field(min_length=1, max_length=MOST_ROWS)]
    """Rows of the embeddings, as neighbours and points have them; several: `row=3&row=5`."""


class EmbeddedSample(_Told):
    row: int
    """In the files of the embeddings."""
    sample: int
    """Its place in the dataset."""
    split: SplitName
    labels: Labels
    modalities: dict[str, Shown]
    """Nothing where there is nothing to show: the dataset is registered no more, or was embedded before samples were kept."""


class EmbeddedSamples(_Told):
    job_id: str
    dataset: str
    data: list[EmbeddedSample]
    """In the order in which they were asked for."""
