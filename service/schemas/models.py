"""Published models and the aliases that name them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from models_store.manifest import Precision, Quality
from service.paging import MAX_CHARS
from service.schemas.heads import HeadOut
from service.tables import Alias, Model

AliasName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class ModelFilters(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 100
    cursor: Annotated[str, Field(max_length=4 * MAX_CHARS)] | None = None
    """`next_cursor` of the page before."""


class ModelOut(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    version: int
    digest: str
    """sha256 of the manifest, which holds the sha256 of every file."""
    aliases: list[str]
    job_id: str | None
    """The export that published it."""
    train_job_id: str | None
    """The training that it comes from."""
    manifest: dict[str, Any]
    """Inputs, output, where the weights come from, how near ONNX came to torch, and other precisions to fp32."""
    precisions: list[Precision]
    """In which it was published. fp16 is served where there is a GPU."""
    quality: Quality | None
    """What is to be expected of an embedding that is made of some of the modalities; unknown of models that were exported
    before it was measured."""
    heads: list[HeadOut]
    """Probes that are attached to it, which POST /v1/predictions asks."""
    created_at: datetime

    @classmethod
    def of(cls, model: Model, aliases: list[str], heads: list[HeadOut]) -> Self:
        told = {
            "aliases": aliases,
            "heads": heads,
            "precisions": [each["precision"] for each in model.manifest.get("variants", [])] or ["fp32"],
            "quality": model.manifest.get("quality"),
        }
        columns = {name: getattr(model, name) for name in cls.model_fields if name not in told}
        return cls.model_validate({**columns, **told})


class ModelPage(BaseModel):
    data: list[ModelOut]
    has_more: bool
    next_cursor: str | None


class NewAlias(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: Annotated[str, Field(min_length=1, max_length=200)]
    """Name (its newest version), name@version, another alias (what it means now) or digest."""


class AliasOut(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    alias: str
    model: str
    """name@version."""
    digest: str
    updated_by: str
    updated_at: datetime

    @classmethod
    def of(cls, alias: Alias, model: Model) -> Self:
        return cls(
            alias=alias.alias,
            model=f"{model.name}@{model.version}",
            digest=alias.digest,
            updated_by=alias.updated_by,
            updated_at=alias.updated_at,
        )


class AliasList(BaseModel):
    data: list[AliasOut]
