"""Who works, what on and how long that has been believed; and what waits for whom.

Nobody signs in as a worker: they are known by the attempts that they made. What is at work has a lease, and when that was
renewed last follows from when it ends.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from service.leases import may_start
from service.schemas.workers import QueuedJob, QueueOut, WorkerJob, WorkerOut
from service.states import ACTIVE
from service.tables import Attempt, Job, JobEvent, utc_now

MOST_ATTEMPTS = 1000
MOST_SHOWN = 50
MOST_WAITS = 200
QUEUES = ("cpu", "gpu")


def workers(session: Session, lease_s: float) -> list[WorkerOut]:
    """Those at work first, then those that were heard of last.

    lease_s: how long a lease lasts after it is renewed.
    """
    newest = select(Attempt).order_by(Attempt.job_id.desc(), Attempt.number.desc()).limit(MOST_ATTEMPTS)
    made: dict[str, list[Attempt]] = {}
    for attempt in session.scalars(newest):
        made.setdefault(attempt.worker, []).append(attempt)
    at_work: dict[str, list[tuple[Job, Attempt]]] = {}
    for job, attempt in session.execute(
        select(Job, Attempt)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt))
        .where(Job.state.in_(ACTIVE))
    ):
        at_work.setdefault(attempt.worker, []).append((job, attempt))
    found = [
        _worker(name, made.get(name, []), at_work.get(name, []), lease_s)
        for name in dict.fromkeys((*at_work, *made))
    ]
    return sorted(found, key=lambda each: (each.state == "idle", -each.heard_at.timestamp(), each.name))


def queues(session: Session) -> list[QueueOut]:
    return [_queue(session, name) for name in QUEUES]


def _worker(
    name: str, made: Sequence[Attempt], doing: Sequence[tuple[Job, Attempt]], lease_s: float
) -> WorkerOut:
    ended = [attempt for attempt in made if attempt.finished_at is not None]
    renewed = [
        job.lease_expires_at - timedelta(seconds=lease_s) for job, _ in doing if job.lease_expires_at is not None
    ]  # fmt: skip
    late = any(job.lease_expires_at is not None and job.lease_expires_at < utc_now() for job, _ in doing)
    every = [*made, *(attempt for _, attempt in doing)]
    heard = max(renewed or [_last(every)])
    return WorkerOut(
        name=name,
        host=every[0].host,
        state="late" if late else "at_work" if doing else "idle",
        heard_at=heard,
        jobs=[_work(job, attempt) for job, attempt in doing],
        ended=len(ended),
        lost=sum(attempt.outcome == "lost" for attempt in ended),
    )


def _last(attempts: Iterable[Attempt]) -> datetime:
    return max(attempt.finished_at or attempt.started_at for attempt in attempts)


def _work(job: Job, attempt: Attempt) -> WorkerJob:
    columns = {name: getattr(job, name) for name in ("id", "kind", "name", "state", "attempt", "progress")}
    return WorkerJob(**columns, since=attempt.started_at)


def _queue(session: Session, name: str) -> QueueOut:
    now = utc_now()
    free = may_start(now)
    in_order = select(Job).where(Job.queue == name).order_by(Job.priority.desc(), Job.id)
    waiting = list(session.scalars(in_order.where(*free).limit(MOST_SHOWN)))
    n_waiting = _count(session, name, *free)
    n_queued = _count(session, name, Job.state == "queued")
    held: list[Job] = []
    if len(waiting) == n_waiting < n_queued:
        others = in_order.where(Job.state == "queued", Job.id.not_in([job.id for job in waiting]))
        held = list(session.scalars(others.limit(MOST_SHOWN - len(waiting))))
    since = _queued_at(session, [job.id for job in (*waiting, *held)])
    return QueueOut(
        name=name,
        at_work=_count(session, name, Job.state.in_(ACTIVE)),
        waiting=n_waiting,
        held=n_queued - n_waiting,
        usual_wait_s=_usual_wait_s(session, name),
        jobs=[_queued(job, "worker", since) for job in waiting]
        + [
            _queued(job, "pause" if job.not_before and job.not_before > now else "job", since) for job in held
        ],
    )


def _count(session: Session, queue: str, *conditions: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(Job).where(Job.queue == queue, *conditions)) or 0


def _queued_at(session: Session, job_ids: Sequence[str]) -> dict[str, datetime]:
    """When each was moved into its queue last."""
    moves = select(JobEvent.job_id, JobEvent.at, JobEvent.data).where(
        JobEvent.job_id.in_(job_ids), JobEvent.type == "state"
    )
    rows = session.execute(moves.order_by(JobEvent.job_id, JobEvent.seq))
    return {job_id: at for job_id, at, data in rows if data.get("to") == "queued"}


def _usual_wait_s(session: Session, queue: str) -> float | None:
    begun = (
        select(Job.created_at, Job.started_at)
        .where(Job.queue == queue, Job.after_id.is_(None), Job.started_at.is_not(None))
        .order_by(Job.id.desc())
        .limit(MOST_WAITS)
    )
    waits = [(started - created).total_seconds() for created, started in session.execute(begun) if started]
    return statistics.median(waits) if waits else None


def _queued(job: Job, waits_for: Literal["worker", "job", "pause"], since: dict[str, datetime]) -> QueuedJob:
    names = ("id", "kind", "name", "method", "dataset", "priority", "after_id", "not_before")
    columns = {name: getattr(job, name) for name in names}
    return QueuedJob(**columns, waits_for=waits_for, since=since.get(job.id, job.created_at))
