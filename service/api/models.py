"""Published models, and the aliases that name them. Models are published by export jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from service import models
from service.access.auth import Principal, require
from service.deps import ReadSession, ResourcesDep, WriteSession
from service.schemas.models import (
    AliasList,
    AliasName,
    AliasOut,
    ModelFilters,
    ModelOut,
    ModelPage,
    NewAlias,
)

router = APIRouter(prefix="/v1", tags=["models"])
read = Depends(require("read"))
# What an alias means decides what everybody is answered, so that it takes more than leave to submit jobs.
Admin = Annotated[Principal, Depends(require("admin"))]


@router.get("/models", dependencies=[read])
def list_models(session: ReadSession, asked: Annotated[ModelFilters, Query()]) -> ModelPage:
    """By name, of each the newest version first."""
    found, cursor = models.page(session, asked.name, asked.cursor, asked.limit)
    return ModelPage(data=models.told(session, found), has_more=cursor is not None, next_cursor=cursor)


@router.get("/models/{model}", dependencies=[read])
def get_model(model: str, session: ReadSession, resources: ResourcesDep) -> ModelOut:
    """By name (its newest version), name@version, alias or digest."""
    return models.told(session, [models.get(session, resources.store, model)])[0]


@router.get("/aliases", dependencies=[read])
def list_aliases(session: ReadSession) -> AliasList:
    return AliasList(data=models.aliases(session))


@router.put("/aliases/{alias}")
def set_alias(
    alias: AliasName, asked: NewAlias, session: WriteSession, resources: ResourcesDep, admin: Admin
) -> AliasOut:
    """Let an alias mean a model from now on."""
    return models.set_alias(session, resources.store, alias, asked.model, admin.name)
