"""The life of a job: how it is made, which states it passes through, and what people may ask of it.

    queued → starting → running → succeeded
                 ↓         ↓    ↘ failed
            cancelling → cancelled          (succeeded or failed, if the work ended first)
    starting, running → interrupted → queued
    failed, cancelled → queued              (retry)

`move` is the only place that changes a state. It compares and sets: of two processes that move a job at once one
succeeds, and the other gets a ConflictError and has changed nothing. Workers' side of the life is `service.leases`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service import problems
from service.bell import ring_later
from service.db import new_id
from service.errors import ConflictError, Fault, InvalidError, NotFoundError
from service.tables import Checkpoint, Job, JobEvent, JobTag, utc_now
from training.spec import SPECS, AnySpec, Kind, ProbeSpec, TrainSpec, spec_hash

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


@dataclass(frozen=True)
class Request:
    """What somebody wants to run: checked, with defaults filled in and its place among the other jobs."""

    kind: Kind
    spec: AnySpec
    source: Job | None
    """The training that a probe or an export builds on."""

    @property
    def queue(self) -> str:
        return "gpu" if isinstance(self.spec, TrainSpec) and self.spec.device != "cpu" else "cpu"

    @property
    def total_steps(self) -> int | None:
        return self.spec.total_steps if isinstance(self.spec, TrainSpec) else None

    @property
    def trained(self) -> TrainSpec:
        """The training's spec: its own, or that of the run it builds on."""
        return self.spec if isinstance(self.spec, TrainSpec) else TrainSpec.model_validate(_source(self).spec)


def checked(session: Session, kind: Kind, spec: Mapping[str, Any]) -> Request:
    """Raises InvalidError with pointers below /spec, or ConflictError when the run has no such checkpoint yet."""
    try:
        valid = SPECS[kind].model_validate(spec)
    except ValidationError as error:
        raise problems.invalid_spec(error, spec) from None
    if isinstance(valid, TrainSpec):
        return Request(kind, valid, None)
    request = Request(kind, valid, _training(session, valid.run))
    if isinstance(valid, ProbeSpec):
        _assert_tasks(request.trained, valid.tasks or ())
    _assert_checkpoint(session, valid.run, valid.checkpoint)
    return request


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
        dataset=trained.dataset.name,
        seed=getattr(spec, "seed", trained.seed),
        source_job_id=request.source.id if request.source else None,
        cloned_from_id=cloned_from.id if cloned_from else None,
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


def duplicates(session: Session, request: Request) -> list[str]:
    """Jobs that do, or did, exactly this: newest first, at most ten."""
    same = select(Job.id).where(
        Job.spec_sha256 == spec_hash(request.spec),
        Job.kind == request.kind,
        Job.state.not_in(("failed", "cancelled")),
    )
    return list(session.scalars(same.order_by(Job.id.desc()).limit(10)))


def get(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError.of("job", job_id, "list them with GET /v1/jobs")
    return job


def page(
    session: Session, filters: Mapping[str, str | None], tag: str | None, cursor: str | None, limit: int
) -> tuple[list[Job], str | None]:
    """Newest first. `filters`: column → value, None for any. Returns the jobs and the next page's cursor."""
    query = select(Job).order_by(Job.id.desc()).limit(limit + 1)
    for column, value in filters.items():
        if value is not None:
            query = query.where(getattr(Job, column) == value)
    if tag is not None:
        query = query.join(JobTag).where(JobTag.tag == tag)
    if cursor is not None:
        query = query.where(Job.id < _last_id(cursor))
    jobs = list(session.scalars(query))
    more = len(jobs) > limit
    return jobs[:limit], _cursor(jobs[limit - 1].id) if more else None


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
    """A queued job is cancelled at once; one at work is asked to stop. A job that has ended stays as it is."""
    if job.state == "queued":
        move(session, job, "cancelled", actor=actor, reason="user_cancelled", finished_at=utc_now())
    elif job.state in ("starting", "running"):
        move(session, job, "cancelling", actor=actor, reason="user_cancelled", cancel_requested_at=utc_now())


def retry(session: Session, job: Job, actor: str) -> None:
    """Queues a failed or cancelled job again; it goes on from its last checkpoint."""
    if job.state not in ("failed", "cancelled"):
        raise ConflictError(
            "job_not_ended",
            f"only failed and cancelled jobs can be retried, and this one is {job.state}; "
            + ("clone it to run it again" if job.state == "succeeded" else "cancel it first"),
        )
    move(
        session, job, "queued", actor=actor, reason=None, error=None, crashes=0, finished_at=None,
        cancel_requested_at=None, not_before=None, rung_at=utc_now(),
    )  # fmt: skip
    ring_later(session, job.id, job.queue)


def cloned_spec(job: Job, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The job's spec with `overrides` merged in; another method or dataset starts from its own defaults."""
    merged: dict[str, Any] = _merged(job.spec, overrides)
    return merged


def move(
    session: Session, job: Job, to: str, *, actor: str = "system", text: str = "", **changes: Any
) -> None:
    """Changes the state and tells of it, or raises ConflictError when that is not possible (any more).

    `changes` are further columns to set. Only succeeds while state and token are as `job` was read.
    """
    if to not in MOVES[job.state]:
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


def events(session: Session, job_id: str, after: int, limit: int) -> list[JobEvent]:
    later = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after)
    return list(session.scalars(later.order_by(JobEvent.seq).limit(limit)))


def _source(request: Request) -> Job:
    assert request.source is not None
    return request.source


def _training(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None or job.kind != "train":
        what = "there is no such job" if job is None else f"it is a job of the kind '{job.kind}'"
        raise InvalidError.at(
            "/spec/run",
            "no_such_training",
            f"no training {job_id!r}: {what}; list trainings with GET /v1/jobs?kind=train",
        )
    return job


def _assert_tasks(trained: TrainSpec, tasks: Sequence[str]) -> None:
    have = [task.name for task in trained.dataset.tasks]
    unknown = tuple(
        Fault(f"/spec/tasks/{index}", "unknown_task", f"{trained.dataset.name} has no task {task!r}; it has {', '.join(have)}")
        for index, task in enumerate(tasks) if task not in have
    )  # fmt: skip
    if unknown:
        raise InvalidError("unknown_task", unknown[0].detail, faults=unknown)


def _assert_checkpoint(session: Session, job_id: str, which: str | int) -> None:
    kept = select(Checkpoint.step).where(Checkpoint.job_id == job_id, Checkpoint.exists)
    if which == "best":
        kept = kept.where(Checkpoint.is_best)
    steps = list(session.scalars(kept.order_by(Checkpoint.step)))
    if isinstance(which, int) and which not in steps:
        raise ConflictError(
            "no_checkpoint", f"{job_id} keeps no checkpoint of step {which}; it has {steps or 'none'}"
        )
    if not steps:
        remedy = (
            "a training marks its best one when it has probe.every_epochs; take 'last'"
            if which == "best"
            else "wait until the training has written its first"
        )
        raise ConflictError("no_checkpoint", f"{job_id} has no checkpoint '{which}' yet; {remedy}")


def _merged(base: Any, over: Any) -> Any:
    another = isinstance(over, Mapping) and isinstance(base, Mapping) and over.get("name", base.get("name")) != base.get("name")  # fmt: skip
    if not isinstance(over, Mapping) or not isinstance(base, Mapping) or another:
        return over
    return {**base, **{name: _merged(base.get(name), value) for name, value in over.items()}}


def _cursor(job_id: str) -> str:
    return base64.urlsafe_b64encode(job_id.encode()).decode().rstrip("=")


def _last_id(cursor: str) -> str:
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, UnicodeError, ValueError):
        raise InvalidError.at(
            "/query/cursor",
            "bad_cursor",
            "not a cursor of this list; pass `next_cursor` back as it was given",
        ) from None
