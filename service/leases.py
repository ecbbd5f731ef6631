"""Workers' side of a job's life: who works on it, for how long that is believed, and how it was left.

A claim gives a lease and a token that is greater than all before it. Whoever writes about the job locks its row and
shows the token; when another has claimed the job meanwhile, that raises FencedError and nothing is written. So a
worker that was thought dead and was merely slow can do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session, aliased

from service import jobs
from service.bell import ring_later
from service.db import Sessions, transaction
from service.states import ACTIVE
from service.tables import Attempt, Job, JobEvent, utc_now

Outcome = Literal["succeeded", "failed", "interrupted", "cancelled", "lost"]
PAUSE_AFTER_CRASH_S = 2.0
"""Doubled with each further crash."""


class FencedError(RuntimeError):
    """The job belongs to somebody else by now."""


@dataclass(frozen=True)
class Worker:
    name: str
    host: str


@dataclass(frozen=True)
class Lease:
    """The right to work on a job, as long as it is renewed."""

    job_id: str
    kind: str
    token: int
    attempt: int


@dataclass(frozen=True)
class Ending:
    """How an attempt ended. `reason` is for programs, `text` for people; lost and interrupted ones are tried again."""

    outcome: Outcome
    reason: str | None = None
    text: str | None = None
    exit_code: int | None = None


def claim(sessions: Sessions, queues: Sequence[str], worker: Worker, lease_s: float) -> Lease | None:
    """The most urgent of the jobs that may start, oldest first among equals; None when there is nothing to do."""
    with transaction(sessions) as session:
        now = utc_now()
        waiting = (
            select(Job)
            .where(Job.queue.in_(queues), *may_start(now))
            .order_by(Job.priority.desc(), Job.id)
            .limit(1)
            .with_for_update(skip_locked=True)  # what another worker is about to take is no longer waiting
        )
        job = session.scalar(waiting)
        if job is None:
            return None
        jobs.move(
            session, job, "starting", actor=worker.name, token=job.token + 1, attempt=job.attempt + 1,
            lease_owner=worker.name, lease_expires_at=now + timedelta(seconds=lease_s),
            started_at=job.started_at or now, not_before=None, reason=None, error=None,
        )  # fmt: skip
        session.add(
            Attempt(job_id=job.id, number=job.attempt, token=job.token, worker=worker.name, host=worker.host)
        )
        return Lease(job.id, job.kind, job.token, job.attempt)


def may_start(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Conditions on queued jobs: no pause lasts any more, and what they wait for has succeeded."""
    awaited = aliased(Job)
    done = exists().where(awaited.id == Job.after_id, awaited.state == "succeeded")
    return (
        Job.state == "queued",
        or_(Job.not_before.is_(None), Job.not_before <= now),
        or_(Job.after_id.is_(None), done),
    )


def held(session: Session, lease: Lease) -> Job:
    """The job, locked until the session ends. Raises FencedError unless the lease still holds it."""
    job = session.get(Job, lease.job_id, with_for_update=True, populate_existing=True)
    if job is None or job.token != lease.token or job.state not in ACTIVE:
        raise FencedError(f"the lease on {lease.job_id} (token {lease.token}) has passed to somebody else")
    return job


def renew(sessions: Sessions, lease: Lease, lease_s: float) -> bool:
    """Keeps the lease; True when somebody wants the job cancelled. Raises FencedError."""
    with transaction(sessions) as session:
        job = held(session, lease)
        prolong(job, lease_s)
        return job.state == "cancelling"


def prolong(job: Job, lease_s: float) -> None:
    """Keeps the lease from now on. The job must be locked."""
    job.lease_expires_at = utc_now() + timedelta(seconds=lease_s)


def note_runner(sessions: Sessions, lease: Lease, pid: int, started: float) -> None:
    """Remembers the process that works, so that its end can be made sure of later. Raises FencedError."""
    with transaction(sessions) as session:
        held(session, lease)
        attempt = session.get_one(Attempt, (lease.job_id, lease.attempt))
        attempt.pid, attempt.pid_started = pid, started


def tell(session: Session, job: Job, kind: str, text: str, level: str = "info", **data: object) -> None:
    """Adds to the job's history. The job must be locked: `held` does that."""
    job.last_event_seq += 1
    session.add(
        JobEvent(
            job_id=job.id,
            seq=job.last_event_seq,
            type=kind,
            level=level,
            text=text,
            data=data,
            actor=job.lease_owner or "system",
        )
    )


def settle(session: Session, job: Job, ending: Ending) -> None:
    """Ends the attempt and moves the job on: to its end, or back into the queue. The job must be locked."""
    now = utc_now()
    attempt = session.get(Attempt, (job.id, job.attempt))
    if attempt is not None:
        attempt.finished_at, attempt.outcome = now, ending.outcome
        attempt.exit_code, attempt.detail = ending.exit_code, ending.text
    session.flush()
    # The token moves on with the lease, so that whoever held it is fenced from here.
    free = {"lease_owner": None, "lease_expires_at": None, "token": job.token + 1}
    actor = job.lease_owner or "system"
    if job.state == "cancelling" and ending.outcome in ("interrupted", "cancelled", "lost"):
        jobs.move(session, job, "cancelled", actor=actor, text="cancelled", finished_at=now, **free)
    elif ending.outcome in ("succeeded", "failed"):
        if job.state == "starting":
            jobs.move(session, job, "running", actor=actor)
        reason = ending.reason if ending.outcome == "failed" else None
        jobs.move(
            session, job, ending.outcome, actor=actor, reason=reason, error=ending.text if reason else None,
            finished_at=now, token=job.token + 1, lease_owner=None, lease_expires_at=None,
        )  # fmt: skip
    else:
        _queue_again(session, job, ending, actor)


def take_back(session: Session, job: Job) -> None:
    """For a job whose worker has not renewed its lease. The job must be locked."""
    text = f"the worker {job.lease_owner} was not heard of any more"
    settle(session, job, Ending("lost", "worker_lost", text))


def _queue_again(session: Session, job: Job, ending: Ending, actor: str) -> None:
    now = utc_now()
    crashes = job.crashes + (ending.outcome == "lost")
    free = {"lease_owner": None, "lease_expires_at": None, "token": job.token + 1}
    jobs.move(
        session, job, "interrupted", actor=actor, text=ending.text or "interrupted", crashes=crashes, **free
    )
    if ending.outcome == "lost" and crashes >= job.max_attempts:
        text = f"{ending.text}; given up after {crashes} attempts"
        jobs.move(session, job, "failed", reason=ending.reason, error=text, finished_at=now)
        return
    pause_s = PAUSE_AFTER_CRASH_S * 2 ** (crashes - 1) if ending.outcome == "lost" else 0
    jobs.move(session, job, "queued", not_before=now + timedelta(seconds=pause_s), rung_at=now)
    if not pause_s:
        ring_later(session, job.id, job.queue)
