"""What there is to train and to train on, read off the specs, so that it can never differ from what they accept."""

from __future__ import annotations

import inspect
import logging
from typing import Any, get_args

from sqlalchemy.orm import Session

from service.data import datasets as registered
from service.data import previews
from service.errors import ConflictError
from service.schemas.catalog import (
    DatasetDetail,
    DatasetOut,
    FormOut,
    MethodOut,
    ModalityCount,
    PresetOut,
    RegistrationOut,
    TaskOut,
)
from service.settings import Settings
from service.tables import Dataset
from training.spec import (
    DATASETS,
    METHODS,
    MODALITY_COUNTS,
    DatasetSpec,
    Digits,
    Form,
    Registered,
    Trifeatures,
)
from training.spec.presets import PRESETS
from training.spec.registration import ABOUT

log = logging.getLogger(__name__)


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


def presets(session: Session) -> list[PresetOut]:
    there = {*DATASETS, *(row.name for row in registered.every(session))}
    return [
        PresetOut(
            name=preset.name,
            about=preset.about,
            row=preset.row,
            method=preset.method,
            dataset=preset.spec["dataset"]["name"],
            options_from=preset.options_from,
            ready=preset.spec["dataset"]["name"] in there,
            spec=preset.spec,
        )
        for preset in PRESETS.values()
    ]


def datasets(session: Session) -> list[DatasetOut]:
    """Those that are always there, then those registered, by name."""
    made_here = [_made_here(name, spec) for name, spec in DATASETS.items()]
    return made_here + [each for row in registered.every(session) for each in _readable(row)]


def dataset(session: Session, settings: Settings, name: str) -> DatasetDetail:
    """Raises NotFoundError."""
    row = None if name in DATASETS else registered.named(session, name)
    found = _made_here(name, DATASETS[name]) if row is None else _registered(row)
    return DatasetDetail(
        **found.model_dump(),
        report=row and registered.report_of(row),
        previews=previews.made(settings, row, name),
    )


def _made_here(name: str, spec: type[Digits] | type[Trifeatures]) -> DatasetOut:
    return DatasetOut(
        name=name,
        about=inspect.getdoc(spec) or "",
        forms=[_form(spec(form=form)) for form in get_args(Form)],
        parameters=spec.model_json_schema(),
        registered=None,
    )


def _readable(row: Dataset) -> list[DatasetOut]:
    """One, or none where another version registered it: that one dataset is lost must not hide the others."""
    try:
        return [_registered(row)]
    except ConflictError as error:
        log.warning("%s", error.detail)
        return []


def _registered(row: Dataset) -> DatasetOut:
    """Raises ConflictError when another version registered it."""
    card, report = registered.card_of(row), registered.report_of(row)
    usual = Registered(name=row.name, sha256=row.sha256 or "", card=card)
    whole = usual.model_copy(
        update={
            "use": tuple(each.name for each in card.modalities),
            "predict": tuple(each.name for each in card.tasks),
        }
    )
    more = whole.modalities != usual.modalities or whole.tasks != usual.tasks
    return DatasetOut(
        name=row.name,
        about=ABOUT[report.format],
        forms=[_form(usual), *([_form(whole)] if more else [])],
        parameters=_choices(row.name),
        registered=RegistrationOut(
            sha256=usual.sha256,
            format=report.format,
            created_at=row.created_at,
            samples=report.samples,
            dropped=sum(each.count for each in report.dropped),
            warnings=list(report.warnings),
        ),
    )


def _choices(name: str) -> dict[str, Any]:
    """What a spec may say of a registered dataset; its sha256 and card are filled in."""
    schema = Registered.model_json_schema()
    said = {field: schema["properties"][field] for field in ("use", "predict", "augment")}
    return {
        "title": "Registered",
        "description": schema["description"],
        "type": "object",
        "properties": {"name": {"const": name, "type": "string"}, **said},
        "required": ["name"],
        "additionalProperties": False,
    }


def _form(dataset: DatasetSpec) -> FormOut:
    count = len(dataset.modalities)
    return FormOut(
        form=dataset.form,
        modalities=list(dataset.modalities),
        tasks=[
            TaskOut(
                name=task.name, family=task.family, type=task.type, classes=task.classes, chance=task.chance
            )
            for task in dataset.tasks
        ],
        methods=[name for name, admitted in MODALITY_COUNTS.items() if count in admitted],
    )
