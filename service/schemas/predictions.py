"""What heads are asked about, and what they say: classes, labels or numbers, with what that is worth."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.embeddings import (
    MOST_INPUTS,
    EmbeddingList,
    EmbeddingOut,
    InputIn,
    ModelAsked,
    Origin,
    Seen,
    Top,
    Usage,
)
from service.schemas.heads import MOST_TASKS, HeadFacts, Task


class PredictionRequest(ModelAsked):
    probe: Task | Annotated[list[Task], Field(min_length=1, max_length=MOST_TASKS)] | None = None
    """The task of a head, or several; all that the model has by default."""
    inputs: Annotated[list[InputIn], Field(min_length=1, max_length=MOST_INPUTS)]
    """As in POST /v1/embeddings."""
    top: Top = None
    """Tell so many of the most probable classes or labels, those first. By default all in their order; of more than a
    thousand, the hundred most probable."""


class _Probable(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    probabilities: dict[str, float]
    """By class or label."""
    left_out: int
    """Classes or labels that are less probable and are not told; `top` tells more of them."""


class ClassPrediction(_Probable):
    type: Literal["class"] = "class"
    label: str
    """The most probable."""


class LabelsPrediction(_Probable):
    """Each label by itself: the probabilities do not add up to 1."""

    type: Literal["multilabel"] = "multilabel"
    labels: list[str]
    """All that are more probable than not."""


class ValuesPrediction(BaseModel):
    type: Literal["regression"] = "regression"
    values: list[float]


Prediction = Annotated[ClassPrediction | LabelsPrediction | ValuesPrediction, Field(discriminator="type")]


class _Predicted(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    predictions: dict[str, Prediction]
    """By task."""
    note: str | None
    """When modalities are missing: the heads were fitted and scored on samples that have them all."""


class PredictionOut(Seen, _Predicted):
    object: Literal["prediction"] = "prediction"
    index: int
    """Of the input in the request."""


class PredictionList(Origin):
    """What the heads say, in the order of the inputs, and what each head is worth."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["list"] = "list"
    model: str
    """`name@version`, or the digest of a model that has no such name."""
    data: list[PredictionOut]
    heads: dict[str, HeadFacts]
    """By task."""
    checkpoint_sha256: str
    """On which the heads were fitted, and of which the model is."""
    usage: Usage


class PredictedEmbeddingOut(EmbeddingOut, _Predicted):
    pass


class PredictedEmbeddingList(EmbeddingList):
    """Vectors, and beside each what the heads that were asked say of it before it is shortened or scaled."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: list[PredictedEmbeddingOut]  # type: ignore[assignment]
    heads: dict[str, HeadFacts]
    """By task."""
