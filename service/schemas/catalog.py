"""What can be trained on what: methods and datasets, as the specs define them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from training.spec import Modality, Protocol
from training.spec.datasets import SplitName
from training.spec.registration import Format, Report


class ModalityCount(BaseModel):
    min: int
    max: int


class MethodOut(BaseModel):
    name: str
    about: str
    modalities: ModalityCount
    """How many modalities a dataset may have."""
    parameters: dict[str, Any]
    """JSON Schema of `spec.method`: each parameter with its default, range and meaning."""


class MethodList(BaseModel):
    data: list[MethodOut]


class PresetOut(BaseModel):
    """A published run: POST /v1/jobs {"kind": "train", "preset": name} starts one like it."""

    name: str
    about: str
    row: str
    """Of the published tables: presets of one row differ in their method."""
    method: str
    dataset: str
    options_from: str
    """Who has published these options, or that nobody has."""
    ready: bool
    """Whether the dataset is there; others are registered with `fusebox datasets add`."""
    spec: dict[str, Any]
    """Before its defaults are filled in; with ?dry_run=true POST /v1/jobs shows it with them."""


class PresetList(BaseModel):
    data: list[PresetOut]


class TaskOut(BaseModel):
    name: str
    family: str
    type: Literal["class", "multilabel", "regression"]
    classes: int
    """Classes of which one is right, labels of which any may be, or numbers of a regression."""
    chance: float | None
    """Macro accuracy of guessing a class."""


class FormOut(BaseModel):
    """One way in which the dataset gives its samples."""

    form: str
    """`spec.dataset.form`; of a registered dataset, its modalities as `spec.dataset.use` names them, joined by +."""
    modalities: list[Modality]
    tasks: list[TaskOut]
    methods: list[str]
    """The methods that take this many modalities."""


class RegistrationOut(BaseModel):
    """What registering found."""

    sha256: str
    """Of its content: equal wherever the same data is registered."""
    format: Format
    created_at: datetime
    samples: dict[Protocol, dict[SplitName, int]]
    """Per protocol and split."""
    dropped: int
    """Samples that are in no split."""
    warnings: list[str]
    """What is allowed and may still mislead."""


class DatasetOut(BaseModel):
    name: str
    about: str
    forms: list[FormOut]
    """Of a registered dataset the usual one first, then all that it has."""
    parameters: dict[str, Any]
    """JSON Schema of `spec.dataset`."""
    registered: RegistrationOut | None
    """None for those that are always there."""


class DatasetDetail(DatasetOut):
    report: Report | None
    """All that registering found, dropped and changed."""
    previews: list[str]
    """The forms of which GET /v1/datasets/NAME/preview shows samples by now."""


class DatasetList(BaseModel):
    data: list[DatasetOut]
