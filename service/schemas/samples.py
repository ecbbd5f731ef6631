"""Samples of registered datasets, as people look at them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from training.spec.datasets import SplitName

Number = float | int


class SamplesAsked(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    split: SplitName = "train"
    """Of protocol `strict`."""
    offset: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class _Shown(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ImageShown(_Shown):
    kind: Literal["image"] = "image"
    url: str
    """Of a PNG."""


class TextShown(_Shown):
    kind: Literal["text"] = "text"
    texts: list[str]
    """One, or several of which training draws one each time."""
    cut: bool = False
    """Whether there is more than is shown."""


class SequenceShown(_Shown):
    kind: Literal["sequence"] = "sequence"
    steps: int
    """Without padding."""
    values: list[list[float]]
    """The first steps, each with its numbers."""
    cut: bool = False


class TableShown(_Shown):
    kind: Literal["table"] = "table"
    values: list[float]
    cut: bool = False


Shown = Annotated[ImageShown | TextShown | SequenceShown | TableShown, Field(discriminator="kind")]


Labels = Annotated[
    dict[str, str | list[str] | list[float]],
    Field(description="Task → the name of its class, the names of its labels, or its numbers."),
]


class SampleOut(_Shown):
    row: int
    """Its place among all samples, whatever their split."""
    modalities: dict[str, Shown]
    labels: Labels


class SamplePage(_Shown):
    dataset: str
    sha256: str
    split: SplitName
    total: int
    """Samples of the split."""
    data: list[SampleOut]
