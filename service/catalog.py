"""What there is to train and to train on, read off the specs, so that it can never differ from what they accept."""

from __future__ import annotations

import inspect
from typing import get_args

from service.schemas.catalog import DatasetOut, FormOut, MethodOut, ModalityCount, TaskOut
from training.spec import DATASETS, METHODS, MODALITY_COUNTS, Digits, Form, Trifeatures


def methods() -> list[MethodOut]:
    return [
        MethodOut(
            name=name,
            about=inspect.getdoc(spec) or "",
            modalities=ModalityCount(min=MODALITY_COUNTS[name].start, max=MODALITY_COUNTS[name].stop - 1),
            parameters=spec.model_json_schema(),
        )
        for name, spec in METHODS.items()
    ]


def datasets() -> list[DatasetOut]:
    return [
        DatasetOut(
            name=name,
            about=inspect.getdoc(spec) or "",
            forms=[_form(spec(form=form)) for form in get_args(Form)],
            parameters=spec.model_json_schema(),
        )
        for name, spec in DATASETS.items()
    ]


def _form(dataset: Digits | Trifeatures) -> FormOut:
    count = len(dataset.modalities)
    return FormOut(
        form=dataset.form,
        modalities=list(dataset.modalities),
        tasks=[
            TaskOut(name=task.name, family=task.family, classes=task.classes, chance=task.chance)
            for task in dataset.tasks
        ],
        methods=[name for name, admitted in MODALITY_COUNTS.items() if count in admitted],
    )
