"""Probe heads of published models: attached from probe jobs, and asked by POST /v1/predictions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from service import heads
from service.access.auth import Principal, require
from service.deps import ReadSession, ResourcesDep, WriteSession
from service.schemas.heads import HeadList, NewHeads

router = APIRouter(prefix="/v1/models/{model}/heads", tags=["models"])
# As with aliases: what is attached decides what everybody is answered.
Admin = Annotated[Principal, Depends(require("admin"))]


@router.get("", dependencies=[Depends(require("read"))])
def list_heads(model: str, session: ReadSession, resources: ResourcesDep) -> HeadList:
    """By task, each with its scores and where it comes from."""
    return HeadList(data=heads.of_model(session, resources.store, model))


@router.post("", status_code=201)
def attach_heads(
    model: str, asked: NewHeads, session: WriteSession, resources: ResourcesDep, admin: Admin
) -> HeadList:
    """Attach the heads of a probe, in the place of those that the model has for the same tasks.

    Only heads fitted on the very checkpoint that the model was exported from; 409 otherwise. They are served within a
    second, and the model is not loaded anew.
    """
    attached = heads.attach(session, resources.store, resources.settings, model, asked, admin.name)
    return HeadList(data=attached)


@router.delete("/{task}", status_code=204, dependencies=[Depends(require("admin"))])
def detach_head(model: str, task: str, session: WriteSession, resources: ResourcesDep) -> None:
    """Take a head off the model; within a second nobody is answered by it any more."""
    heads.detach(session, resources.store, model, task)
