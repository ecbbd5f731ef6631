"""Uploads of datasets: what is announced, and what is told of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from training.spec.registration import Dropped, Format, Options, Report

UploadState = Literal["uploading", "checking", "ready", "refused"]


class NewUpload(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(max_length=100)]
    """What specs will call the dataset. A dataset of that name that is there already is replaced once this one is ready."""
    format: Format
    """How the file is to be read: image_folder, webdataset, parquet or arrays."""
    options: Options = Options()
    """What the data does not say by itself: the size of images, modalities, tasks and their families."""
    size_bytes: Annotated[int, Field(strict=True, gt=0, le=2**50)] | None = None
    """Of the file: then it is told at once when that is too much, and when something is missing."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of the file: then it is checked once all has come."""


class UploadFilters(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(max_length=100)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 20


class UploadOut(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    name: str
    format: str
    state: str
    """uploading, checking, ready or refused."""
    offset: int
    """Bytes that have arrived."""
    size_bytes: int | None
    sha256: str | None
    progress: dict[str, Any] | None
    """While it is checked: `phase`, `step` and `total`."""
    error: str | None
    """Why it was refused, and what to do."""
    unusable: list[Dropped]
    """Samples that cannot be used, by the reason; of each the first hundred by name and line."""
    report: Report | None
    """Once it is ready: all that checking found."""
    dataset_sha256: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class UploadList(BaseModel):
    data: list[UploadOut]
