"""Registered datasets: which content a name means. The files lie in the datasets folder, under their sha256.

Registering anew under a name lets it mean the new content from then on. Jobs keep the sha256 they were made with, so
what they train on never changes beneath them.
"""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db import new_id, take_turns
from service.errors import ConflictError, InvalidError, NotFoundError
from service.tables import Dataset, utc_now
from training.spec import DATASETS, Card, Lookup
from training.spec.datasets import DATASET_NAME
from training.spec.registration import DatasetManifest, Report

UPLOADS = "uploads"
Kept = TypeVar("Kept", Card, Report)


def add(
    session: Session, name: str, sha256: str, manifest: DatasetManifest, report: Report, *, actor: str
) -> Dataset:
    """Lets the name mean this content. Raises InvalidError for a name that no registered dataset may have."""
    assert_nameable(name)
    take_turns(session, "dataset name", name)
    row = session.scalar(select(Dataset).where(Dataset.name == name))
    if row is None:
        row = Dataset(id=new_id("dataset"), name=name)
        session.add(row)
    row.state, row.sha256, row.created_by, row.created_at = "ready", sha256, actor, utc_now()
    row.manifest = {
        "card": manifest.card.model_dump(mode="json"),
        "report": report.model_dump(mode="json"),
    }
    session.flush()
    return row


def assert_nameable(name: str) -> None:
    """Raises InvalidError."""
    if not re.fullmatch(DATASET_NAME, name):
        raise InvalidError.at(
            "/name",
            "dataset_name",
            f"{name[:80]!r} cannot name a dataset: it takes 1 to 63 lower-case letters, digits, dots, dashes and "
            "underscores, of which the first is a letter or digit",
        )
    if name in DATASETS or name == UPLOADS:
        taken = "is a dataset that is always there" if name in DATASETS else "is the address of uploads"
        raise InvalidError.at("/name", "dataset_name", f"{name!r} {taken}; choose another name")


def every(session: Session) -> list[Dataset]:
    """By name."""
    return list(session.scalars(select(Dataset).order_by(Dataset.name)))


def named(session: Session, name: str) -> Dataset:
    """Raises NotFoundError."""
    row = session.scalar(select(Dataset).where(Dataset.name == name))
    if row is None:
        raise NotFoundError.of("dataset", name[:100], "list those that there are with GET /v1/datasets")
    return row


def lookup(session: Session) -> Lookup:
    """For the validation of a spec: a name to its sha256 and card."""

    def found(name: str) -> tuple[str, Card] | None:
        row = session.scalar(select(Dataset).where(Dataset.name == name))
        return None if row is None or row.sha256 is None else (row.sha256, card_of(row))

    return found


def card_of(row: Dataset) -> Card:
    """Raises ConflictError when another version wrote it, and this one cannot read it."""
    return _read(Card, row, "card")


def report_of(row: Dataset) -> Report:
    """Raises ConflictError likewise."""
    return _read(Report, row, "report")


def _read(kind: type[Kept], row: Dataset, part: str) -> Kept:
    try:
        return kind.model_validate(row.manifest.get(part))
    except ValidationError:
        raise ConflictError(
            "outdated_dataset",
            f"dataset {row.name!r} was registered by another version, which this one cannot read; register it again",
        ) from None
