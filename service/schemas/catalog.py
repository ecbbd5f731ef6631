"""What can be trained on what: methods and datasets, as the specs define them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from training.spec import Form, Modality


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


class TaskOut(BaseModel):
    name: str
    family: str
    classes: int
    chance: float
    """Macro accuracy of guessing."""


class FormOut(BaseModel):
    """One way in which the dataset gives its samples."""

    form: Form
    modalities: list[Modality]
    tasks: list[TaskOut]
    methods: list[str]
    """The methods that take this many modalities."""


class DatasetOut(BaseModel):
    name: str
    about: str
    forms: list[FormOut]
    parameters: dict[str, Any]
    """JSON Schema of `spec.dataset`."""


class DatasetList(BaseModel):
    data: list[DatasetOut]
