"""Runs elsewhere that log here as to an MLflow server: each is a job of the kind `external`, which no worker takes.

Its parameters and tags are the job's spec, its metrics lie where all metrics lie. Who logs says how the run ends; one of
which nobody hears any more is ended by cancelling the job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service import jobs, metrics
from service.db import new_id, take_turns
from service.errors import ConflictError, InvalidError, NotFoundError
from service.metrics import Values
from service.paging import paged, place_of
from service.schemas.mlflow import (
    ExperimentOut,
    KeyValue,
    MetricLogged,
    MetricSent,
    NewRun,
    RunData,
    RunInfo,
    RunOut,
    SearchRuns,
    Status,
    UpdateRun,
)
from service.tables import (
    Experiment,
    ExternalRun,
    Job,
    JobEvent,
    JobTag,
    MetricPoint,
    MetricSeries,
    utc_now,
)

QUEUE = "external"
DEFAULT, DEFAULT_NAME = 0, "Default"
"""The experiment of runs that name none. It is always there, and stored with its first run."""
MAX_ENTRIES = 2_000
"""Metrics, parameters, tags of a run."""
RUN_NAME = "mlflow.runName"
STATES: dict[Status, str] = {
    "RUNNING": "running",
    "SCHEDULED": "running",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "KILLED": "cancelled",
}
STATUSES: dict[str, Status] = {
    "running": "RUNNING",
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
}
KINDS = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}
NAMES = {kind: name for name, kind in KINDS.items()}


def create_experiment(session: Session, name: str, actor: str) -> int:
    take_turns(session, "experiments")
    there = session.scalar(select(Experiment.id).where(Experiment.name == name))
    if there is not None or name == DEFAULT_NAME:
        raise ConflictError(
            "experiment_exists", f"there is an experiment {name!r} already; get it by its name"
        )
    greatest = session.scalar(select(func.max(Experiment.id))) or DEFAULT
    session.add(Experiment(id=greatest + 1, name=name, created_by=actor))
    return greatest + 1


def experiment_named(session: Session, name: str) -> Experiment:
    found = session.scalar(select(Experiment).where(Experiment.name == name))
    if found is None and name == DEFAULT_NAME:
        return experiment(session, DEFAULT)
    if found is None:
        raise NotFoundError.of("experiment", name[:60], "create it with experiments/create")
    return found


def experiment(session: Session, experiment_id: int) -> Experiment:
    """Raises NotFoundError; the default one may be new, and not stored yet."""
    found = session.get(Experiment, experiment_id)
    if found is None and experiment_id == DEFAULT:
        return Experiment(id=DEFAULT, name=DEFAULT_NAME, created_at=utc_now())
    if found is None:
        raise NotFoundError.of("experiment", str(experiment_id), "create it with experiments/create")
    return found


def experiments(session: Session, after: str | None, limit: int) -> tuple[list[Experiment], str | None]:
    """By age, and the next page's cursor."""
    rows = select(Experiment).order_by(Experiment.id).limit(limit + 1)
    if after is not None:
        rows = rows.where(Experiment.id > place_of(after, int)[0])
    return paged(session.scalars(rows).all(), limit, lambda each: (each.id,))


def create_run(session: Session, asked: NewRun, actor: str) -> Job:
    """A job that is running already."""
    take_turns(session, "experiments")
    of = session.merge(experiment(session, int(asked.experiment_id)))
    tags = {each.key: each.value for each in asked.tags}
    job_id = new_id("job")
    unique = hashlib.sha256(job_id.encode()).hexdigest()
    job = Job(
        id=job_id,
        kind="external",
        name=(asked.run_name or tags.get(RUN_NAME, ""))[:255],
        state="running",
        spec={"experiment": of.name, "params": {}, "tags": tags},
        spec_sha256=unique,
        group_sha256=unique,
        queue=QUEUE,
        created_by=actor,
        started_at=_time(asked.start_time),
        last_event_seq=1,
    )
    session.add(job)
    session.flush()
    session.add(ExternalRun(job_id=job_id, experiment_id=of.id))
    session.add(JobTag(job_id=job_id, tag=of.name[:100]))
    data = {"to": "running"}
    session.add(JobEvent(job_id=job_id, seq=1, type="state", text="is run elsewhere", data=data, actor=actor))
    return job


def locked_run(session: Session, run_id: str) -> Job:
    """Raises NotFoundError for a job that is no run of elsewhere, so that none of ours is written to."""
    run(session, run_id)
    return jobs.locked(session, run_id)


def run(session: Session, run_id: str) -> Job:
    job = session.get(Job, run_id)
    if job is None or job.kind != "external":
        raise NotFoundError.of("run", run_id, "create it with runs/create")
    return job


def update(session: Session, job: Job, asked: UpdateRun, actor: str) -> None:
    """The job must be locked."""
    if asked.run_name is not None:
        job.name = asked.run_name
        session.flush()
    state = STATES[asked.status] if asked.status else job.state
    if state != job.state:
        ended = None if state == "running" else _time(asked.end_time)
        jobs.move(session, job, state, actor=actor, text=f"{state}, as who runs it says", finished_at=ended)


def log(
    session: Session,
    job: Job,
    values: Sequence[MetricSent] = (),
    params: Sequence[KeyValue] = (),
    tags: Sequence[KeyValue] = (),
) -> None:
    """Everything or, with an InvalidError, nothing. What is sent again changes nothing. The job must be locked."""
    kept = {part: dict(job.spec.get(part, {})) for part in ("params", "tags")}
    for place, each in enumerate(params):
        if kept["params"].setdefault(each.key, each.value) != each.value:
            raise InvalidError.at(
                f"/params/{place}/value",
                "parameter_changed",
                f"the parameter {each.key!r} has another value already, and parameters do not change; log a tag instead",
            )
    kept["tags"] |= {each.key: each.value for each in tags}
    for part, entries in kept.items():
        _assert_few(part, len(entries))
    new: dict[str, Values] = {}
    for one in values:
        kind = KINDS.get(str(one.value))
        new.setdefault(one.key, Values()).add(
            one.step, None if kind else float(one.value), kind, one.timestamp / 1000
        )
    if new:
        others = select(func.count()).where(
            MetricSeries.job_id == job.id, MetricSeries.name.not_in(list(new))
        )
        _assert_few("metrics", (session.scalar(others) or 0) + len(new))
        metrics.overwrite(session, job.id, 1, new)
    job.spec, job.updated_at = {**job.spec, **kept}, utc_now()
    job.name = kept["tags"].get(RUN_NAME, job.name)[:255]


def search(session: Session, asked: SearchRuns) -> tuple[list[Job], str | None]:
    """Newest first, and the next page's cursor."""
    wanted = [int(each) for each in asked.experiment_ids]
    rows = select(Job).join(ExternalRun).where(ExternalRun.experiment_id.in_(wanted))
    if asked.page_token:
        rows = rows.where(Job.id < place_of(asked.page_token, str)[0])
    newest = rows.order_by(Job.id.desc()).limit(asked.max_results + 1)
    return paged(session.scalars(newest).all(), asked.max_results, lambda job: (job.id,))


def told(session: Session, runs: Sequence[Job]) -> list[RunOut]:
    """Each with the last value of its metrics."""
    ids = [job.id for job in runs]
    mine = select(ExternalRun.job_id, ExternalRun.experiment_id).where(ExternalRun.job_id.in_(ids))
    of = dict(session.execute(mine).all())
    last: dict[str, list[MetricLogged]] = {}
    lasts = (
        select(MetricSeries.job_id, MetricSeries.name, MetricPoint)
        .join(MetricPoint, MetricPoint.series_id == MetricSeries.id)
        .where(MetricSeries.job_id.in_(ids), MetricPoint.step == MetricSeries.last_step)
    )
    for job_id, name, point in session.execute(lasts.order_by(MetricSeries.name)):
        value = NAMES[point.nonfinite] if point.nonfinite else point.value
        logged = MetricLogged(key=name, value=value, timestamp=round(point.at * 1000), step=point.step)
        last.setdefault(job_id, []).append(logged)
    return [
        RunOut(info=_info(job, of[job.id]), data=RunData.of(job.spec, last.get(job.id, []))) for job in runs
    ]


def told_experiment(row: Experiment) -> ExperimentOut:
    made = round(row.created_at.timestamp() * 1000)
    return ExperimentOut(experiment_id=str(row.id), name=row.name, creation_time=made, last_update_time=made)


def _info(job: Job, experiment_id: int) -> RunInfo:
    return RunInfo(
        run_id=job.id,
        run_uuid=job.id,
        run_name=job.name,
        experiment_id=str(experiment_id),
        user_id=job.created_by,
        status=STATUSES[job.state],
        start_time=_milliseconds(job.started_at),
        end_time=_milliseconds(job.finished_at),
    )


def _assert_few(what: str, n: int) -> None:
    if n > MAX_ENTRIES:
        raise InvalidError.at(
            f"/{what}",
            "too_many_entries",
            f"a run has at most {MAX_ENTRIES:,} {what}; start another run for more",
        )


def _time(milliseconds: int | None) -> datetime:
    return utc_now() if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
