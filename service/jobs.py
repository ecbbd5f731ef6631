"""The life of a job: how it is made, which states it passes through, and what people may ask of it.

    queued → starting → running → succeeded
                 ↓         ↓    ↘ failed
            cancelling → cancelled          (succeeded or failed, if the work ended first)
    starting, running → interrupted → queued
    failed, cancelled → queued              (retry)

`move` is the only place that changes a state. It compares and sets: of two processes that move a job at once one
succeeds, and the other gets a ConflictError and has changed nothing. Workers' side of the life is `service.leases`.

A job may wait for another: it starts once that one has succeeded, is cancelled when that one fails or is cancelled, and
queued again when that one is retried. Rows are locked from the awaited job to those that wait for it, never back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from service.bell import ring_later
from service.db import new_id
from service.errors import ConflictError, Fault, InvalidError, NotFoundError
from service.paging import paged, place_of
from service.requests import DEPENDENCY_FAILED, Request, checked, checked_job, cloned_spec, ended
from service.schemas.jobs import CloneJob, JobOut, NewJob
from service.states import TERMINAL
from service.tables import Attempt, Checkpoint, Job, JobEvent, JobTag, utc_now
from training.spec import Kind, spec_hash

MOVES: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"starting", "cancelled"}),
    "starting": frozenset({"running", "cancelling", "interrupted", "failed"}),
    "running": frozenset({"cancelling", "interrupted", "succeeded", "failed"}),
    "cancelling": frozenset({"cancelled", "succeeded", "failed"}),
    "interrupted": frozenset({"queued", "failed"}),
    "succeeded": frozenset(),
    "failed": frozenset({"queued"}),
    "cancelled": frozenset({"queued"}),
}

MOVES_OUTSIDE: Mapping[str, frozenset[str]] = {
    "running": frozenset({"succeeded", "failed", "cancelled"}),
    "succeeded": frozenset({"running"}),
    "failed": frozenset({"running"}),
    "cancelled": frozenset({"running"}),
}
"""Of jobs of the kind `external`, which are run elsewhere: whoever runs them says how it goes."""


def create(
    session: Session,
    request: Request,
    *,
    actor: str,
    name: str = "",
    tags: Sequence[str] = (),
    priority: int = 0,
    max_attempts: int = 3,
    cloned_from: Job | None = None,
) -> Job:
    """Queues the job; workers are told once the session commits."""
    trained, spec = request.trained, request.spec
    job = Job(
        id=new_id("job"),
        kind=request.kind,
        name=name,
        state="queued",
        spec=spec.model_dump(mode="json"),
        spec_sha256=spec_hash(spec),
        group_sha256=spec_hash(spec, with_seed=False),
        method=trained.method.name,
        dataset=request.dataset,
        seed=getattr(spec, "seed", trained.seed),
        source_job_id=request.source.id if request.source else None,
        cloned_from_id=cloned_from.id if cloned_from else None,
        after_id=request.after.id if request.after else None,
        queue=request.queue,
        priority=priority,
        max_attempts=max_attempts,
        rung_at=utc_now(),
        created_by=actor,
        last_event_seq=1,
    )
    session.add(job)
    session.flush()
    session.add_all(JobTag(job_id=job.id, tag=tag) for tag in sorted(set(tags)))
    session.add(
        JobEvent(job_id=job.id, seq=1, type="state", text="queued", data={"to": "queued"}, actor=actor)
    )
    ring_later(session, job.id, job.queue)
    return job


def submit(session: Session, asked: NewJob, actor: str) -> Job:
    return create(
        session,
        checked_job(session, asked),
        actor=actor,
        name=asked.name or asked.preset or "",
        tags=asked.tags,
        priority=asked.priority,
        max_attempts=asked.max_attempts,
    )


def clone(session: Session, job: Job, changes: CloneJob, actor: str) -> Job:
    """A new job like `job`, except for the changes. It waits for what `job` was to wait for."""
    assert_run_here(job)
    kind = cast(Kind, job.kind)
    return create(
        session,
        checked(session, kind, cloned_spec(job, changes.spec), job.after_id),
        actor=actor,
        name=job.name if changes.name is None else changes.name,
        tags=tags_of(session, [job])[job.id] if changes.tags is None else changes.tags,
        priority=job.priority if changes.priority is None else changes.priority,
        max_attempts=job.max_attempts if changes.max_attempts is None else changes.max_attempts,
        cloned_from=job,
    )


def get(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError.of("job", job_id, "list them with GET /v1/jobs")
    return job


def assert_known(session: Session, job_ids: Sequence[str]) -> None:
    """Raises InvalidError with a pointer below /job_ids for each that is not there."""
    known = set(session.scalars(select(Job.id).where(Job.id.in_(job_ids))))
    unknown = tuple(
        Fault(f"/job_ids/{index}", "job_not_found", f"there is no job {job_id[:60]!r}; list them with GET /v1/jobs")
        for index, job_id in enumerate(job_ids) if job_id not in known
    )  # fmt: skip
    if unknown:
        raise InvalidError("job_not_found", unknown[0].detail, faults=unknown)


def locked(session: Session, job_id: str) -> Job:
    """The job as it is now; nobody else changes it until the session ends."""
    get(session, job_id)
    return session.get_one(Job, job_id, with_for_update=True, populate_existing=True)


def page(
    session: Session,
    filters: Mapping[str, str | None],
    tag: str | None,
    cursor: str | None,
    limit: int,
    *,
    text: str | None = None,
    ids: Sequence[str] = (),
) -> tuple[list[Job], str | None]:
    """Newest first. `filters`: column → value, None for any; `text`: a part of the name, or the id; `ids`: only these, all
    where there are none. Returns the jobs and the next page's cursor."""
    query = select(Job).order_by(Job.id.desc()).limit(limit + 1)
    if ids:
        query = query.where(Job.id.in_(ids))
    for column, value in filters.items():
        if value is not None:
            query = query.where(getattr(Job, column) == value)
    if tag is not None:
        query = query.join(JobTag).where(JobTag.tag == tag)
    if text is not None:
        query = query.where(or_(Job.name.icontains(text, autoescape=True), Job.id == text))
    if cursor is not None:
        query = query.where(Job.id < place_of(cursor, str)[0])
    return paged(session.scalars(query).all(), limit, lambda job: (job.id,))


def told(session: Session, jobs: Sequence[Job]) -> list[JobOut]:
    """As clients see them."""
    tags = tags_of(session, jobs)
    return [JobOut.of(job, tags[job.id]) for job in jobs]


def tags_of(session: Session, jobs: Sequence[Job]) -> dict[str, list[str]]:
    rows = session.execute(
        select(JobTag.job_id, JobTag.tag)
        .where(JobTag.job_id.in_([job.id for job in jobs]))
        .order_by(JobTag.tag)
    )
    found: dict[str, list[str]] = {job.id: [] for job in jobs}
    for job_id, tag in rows:
        found[job_id].append(tag)
    return found


def cancel(session: Session, job: Job, actor: str) -> None:
    """A queued job is cancelled at once; one at work is asked to stop. A job that has ended stays as it is.

    The job must be locked, so that it is not claimed meanwhile.
    """
    if job.state == "queued" or (job.kind, job.state) == ("external", "running"):
        move(session, job, "cancelled", actor=actor, reason="user_cancelled", finished_at=utc_now())
    elif job.state in ("starting", "running"):
        move(session, job, "cancelling", actor=actor, reason="user_cancelled", cancel_requested_at=utc_now())


def retry(session: Session, job: Job, actor: str) -> None:
    """Queues a failed or cancelled job again, and what was cancelled because of it; it goes on from its last checkpoint.

    The job must be locked: then whoever moves the one it waits for comes either before us or after us.
    """
    assert_run_here(job)
    if job.state not in ("failed", "cancelled"):
        raise ConflictError(
            "job_not_ended",
            f"only failed and cancelled jobs can be retried, and this one is {job.state}; "
            + ("clone it to run it again" if job.state == "succeeded" else "cancel it first"),
        )
    awaited = job.after_id and session.get_one(Job, job.after_id, populate_existing=True)
    if awaited and awaited.state in ("failed", "cancelled"):
        raise ConflictError(
            DEPENDENCY_FAILED, f"it waits for {awaited.id}, which {ended(awaited)}; retry that one first"
        )
    _queue_anew(session, job, actor)


def assert_run_here(job: Job) -> None:
    """Raises ConflictError for a job that only whoever sent it can start again."""
    if job.kind == "external":
        raise ConflictError(
            "run_elsewhere", f"{job.id} is run elsewhere and only logged here; start it again there"
        )


def _queue_anew(session: Session, job: Job, actor: str) -> None:
    move(
        session, job, "queued", actor=actor, reason=None, error=None, crashes=0, finished_at=None,
        cancel_requested_at=None, not_before=None, rung_at=utc_now(),
    )  # fmt: skip
    ring_later(session, job.id, job.queue)


def move(
    session: Session, job: Job, to: str, *, actor: str = "system", text: str = "", **changes: Any
) -> None:
    """Changes the state and tells of it, or raises ConflictError when that is not possible (any more).

    `changes` are further columns to set. Only succeeds while state and token are as `job` was read.
    """
    if to not in (MOVES_OUTSIDE if job.kind == "external" else MOVES)[job.state]:
        raise ConflictError("impossible_move", f"a job that is {job.state} cannot become {to}")
    was = job.state
    seq = session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.state == was, Job.token == job.token)
        .values(state=to, last_event_seq=Job.last_event_seq + 1, updated_at=utc_now(), **changes)
        .returning(Job.last_event_seq)
        .execution_options(synchronize_session=False)
    )
    if seq is None:
        raise ConflictError("job_moved", "the job changed at the same moment; look again")
    session.refresh(job)
    data = {"from": was, "to": to, "reason": job.reason, "attempt": job.attempt}
    session.add(
        JobEvent(job_id=job.id, seq=seq, type="state", text=text or job.error or to, data=data, actor=actor)
    )
    if to in TERMINAL or was in TERMINAL:
        for waiting in _waiting_for(session, job):
            _follow(session, waiting, job)


def _waiting_for(session: Session, job: Job) -> Sequence[Job]:
    """Locked, and as they are then: one that is being made is there by now, since its maker has locked `job`."""
    waiting = select(Job).where(Job.after_id == job.id).order_by(Job.id).with_for_update()
    return session.scalars(waiting.execution_options(populate_existing=True)).all()


def _follow(session: Session, job: Job, awaited: Job) -> None:
    """What it means for a job that the one it waits for has ended, or is queued again."""
    if awaited.state == "succeeded" and job.state == "queued":
        job.rung_at = utc_now()
        ring_later(session, job.id, job.queue)
    elif awaited.state in ("failed", "cancelled") and job.state == "queued":
        move(
            session, job, "cancelled", reason=DEPENDENCY_FAILED, finished_at=utc_now(),
            error=f"it waited for {awaited.id}, which {ended(awaited)}; retry that one, and this one is queued again",
        )  # fmt: skip
    elif awaited.state == "queued" and (job.state, job.reason) == ("cancelled", DEPENDENCY_FAILED):
        _queue_anew(session, job, "system")


def attempts(session: Session, job_id: str) -> list[Attempt]:
    return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))


def checkpoints(session: Session, job_id: str) -> list[Checkpoint]:
    """All that were written, also those that the run has removed to make room."""
    written = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return list(session.scalars(written.order_by(Checkpoint.step)))


def events(session: Session, job_id: str, after: int, limit: int) -> list[JobEvent]:
    later = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after)
    return list(session.scalars(later.order_by(JobEvent.seq).limit(limit)))
