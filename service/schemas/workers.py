"""Workers and what each does; queues and what waits in them, in the order in which it will be taken."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from service.schemas.jobs import State
from training.spec import Kind


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class WorkerJob(_Told):
    id: str
    kind: Kind
    name: str
    state: State
    attempt: int
    progress: dict[str, Any]
    since: datetime
    """When this attempt began."""


class WorkerOut(_Told):
    name: str
    host: str
    state: Literal["at_work", "late", "idle"]
    """`late`: its lease has run out, and unless it is heard of its job is given to another. `idle`: it has no job; whether it
    is still there is known once it takes one."""
    heard_at: datetime
    """At work the last renewal of its lease, otherwise the end of its last attempt."""
    jobs: list[WorkerJob]
    """What it works on: one, or none."""
    ended: int
    """Its attempts that have ended, of the newest thousand."""
    lost: int
    """Those of them that were lost to crashes."""


class WorkerList(BaseModel):
    data: list[WorkerOut]


class QueuedJob(_Told):
    id: str
    kind: Kind
    name: str
    method: str | None
    dataset: str | None
    priority: int
    waits_for: Literal["worker", "job", "pause"]
    """`pause`: it was lost to a crash, and is tried again a little later."""
    after_id: str | None
    """The job that must succeed first."""
    not_before: datetime | None
    since: datetime
    """When it was queued: made, retried or given back."""


class QueueOut(_Told):
    name: str
    at_work: int
    waiting: int
    """Jobs that any worker of this queue may take."""
    held: int
    """Jobs that wait for another job or for the end of a pause."""
    usual_wait_s: float | None
    """From being made to the first attempt: the median of the newest jobs that have begun and waited for none; null where
    there are none."""
    jobs: list[QueuedJob]
    """The next ones, at most fifty: in the order in which they are taken, those that are held last."""


class QueueList(BaseModel):
    data: list[QueueOut]
