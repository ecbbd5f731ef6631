"""Who works, and what waits."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from service import workers
from service.access.auth import require
from service.deps import ReadSession, ResourcesDep
from service.schemas.workers import QueueList, WorkerList

router = APIRouter(prefix="/v1", tags=["workers"], dependencies=[Depends(require("read"))])


@router.get("/workers")
def list_workers(session: ReadSession, resources: ResourcesDep) -> WorkerList:
    """All that have worked of late, with what they do now and when they were heard of last."""
    return WorkerList(data=workers.workers(session, resources.settings.lease_s))


@router.get("/queues")
def list_queues(session: ReadSession) -> QueueList:
    """What waits, in the order in which it will be taken, and how long one usually waits."""
    return QueueList(data=workers.queues(session))
