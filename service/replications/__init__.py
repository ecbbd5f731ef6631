"""Replications: a table's rows and columns as one request, which becomes a training and a probe for each seed.

What is there already is not made again: a training with exactly the same spec that has succeeded, is at work or queued,
and its probe. So two replications may share jobs, and a job is cancelled with one only when no other wants it. The state
of a replication is that of its jobs and is stored nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service import jobs
from service.db import new_id, take_turns
from service.errors import ConflictError, NotFoundError
from service.paging import paged, place_of
from service.replications.estimate import estimate
from service.replications.grid import Cell, cells, summaries, told, view
from service.replications.plan import Place, Planned, plan, spelt_out
from service.requests import Request
from service.schemas.replications import Counted, NewReplication, PlannedCell, PlannedReplication
from service.tables import Job, Replication, ReplicationCell, utc_now
from training.spec import spec_hash

__all__ = ["cancel", "dry_run", "get", "page", "retry", "submit", "summaries", "told", "view"]


def submit(session: Session, asked: NewReplication, actor: str) -> Replication:
    """Stores it, and queues what is not there already: all of it or nothing."""
    _take_turns(session)
    asked = spelt_out(asked)
    planned = plan(session, asked)
    replication = Replication(
        id=new_id("replication"),
        table=asked.table,
        request=asked.model_dump(mode="json"),
        created_by=actor,
        created_at=utc_now(),
    )
    session.add(replication)
    session.flush()
    row = {
        each.place: ReplicationCell(
            replication_id=replication.id, **each.place._asdict(), train_made=False, probe_made=False
        )
        for each in planned
    }
    _fill(session, replication, [(row[each.place], each) for each in planned], actor)
    session.add_all(row.values())
    return replication


def dry_run(session: Session, asked: NewReplication) -> PlannedReplication:
    """What `submit` would make, or the same error."""
    asked = spelt_out(asked)
    planned = plan(session, asked)
    new = {spec_hash(each.spec): each for each in planned if each.training is None}
    n_probes = len({spec_hash(each.spec) for each in planned if each.probe is None})
    return PlannedReplication(
        table=asked.table,
        trainings=Counted(new=len(new), reused=len(planned) - len(new)),
        probes=Counted(new=n_probes, reused=len(planned) - n_probes),
        optimizer_steps=sum(each.spec.total_steps for each in new.values()),
        estimate=estimate(session, planned),
        cells=[
            PlannedCell(
                **each.place._asdict(),
                columns=list(each.columns),
                total_steps=each.spec.total_steps,
                training=each.training and each.training.id,
                probe=each.probe and each.probe.id,
            )
            for each in planned
        ],
    )


def get(session: Session, replication_id: str) -> Replication:
    replication = session.get(Replication, replication_id)
    if replication is None:
        raise NotFoundError.of("replication", replication_id, "list them with GET /v1/replications")
    return replication


def page(
    session: Session, table: str | None, cursor: str | None, limit: int
) -> tuple[list[Replication], str | None]:
    """Newest first, and the next page's cursor."""
    query = select(Replication).order_by(Replication.id.desc()).limit(limit + 1)
    if table is not None:
        query = query.where(Replication.table == table)
    if cursor is not None:
        query = query.where(Replication.id < place_of(cursor, str)[0])
    return paged(session.scalars(query).all(), limit, lambda each: (each.id,))


def cancel(session: Session, replication: Replication, actor: str) -> None:
    """Cancels its unfinished jobs: those that were made for a replication, and that no other still wants."""
    _take_turns(session)
    replication.cancelled_at = utc_now()
    session.flush()
    grid = cells(session, [replication])[replication.id]
    mine = [job.id for of in grid for job in (of.training, of.probe) if job is not None]
    unwanted = _made(session, mine) - _wanted_elsewhere(session, mine, replication)
    for job in _locked(session, grid):
        if job.id in unwanted:
            jobs.cancel(session, job, actor)


def retry(session: Session, replication: Replication, actor: str) -> None:
    """Runs the cells that are missing: queues failed and cancelled jobs again, and makes those that are gone."""
    _take_turns(session)
    replication.cancelled_at = None
    session.flush()
    grid = cells(session, [replication])[replication.id]
    there = _locked(session, grid)
    stopping = [job.id for job in there if job.state == "cancelling"]
    if stopping:
        raise ConflictError(
            "still_stopping", f"{len(stopping)} jobs are still being stopped; retry once they have ended"
        )
    for job in there:
        session.refresh(job)  # a training that is queued again has brought its probe along
        if job.state in ("failed", "cancelled"):
            jobs.retry(session, job, actor)
    lost = [of.cell for of in grid if of.training is None or of.probe is None]
    if lost:
        planned = plan(session, NewReplication.model_validate(replication.request))
        by_place = {each.place: each for each in planned}
        missing = [(cell, by_place[Place(cell.row, cell.preset_row, cell.seed)]) for cell in lost]
        _fill(session, replication, missing, actor)


def _take_turns(session: Session) -> None:
    """Of equal replications at once the second finds the first's jobs; and whoever locks many jobs does so alone."""
    take_turns(session, "replications")


def _fill(
    session: Session,
    replication: Replication,
    missing: Iterable[tuple[ReplicationCell, Planned]],
    actor: str,
) -> None:
    """Gives each cell its jobs. Cells that are the same training share them."""
    asked = NewReplication.model_validate(replication.request)
    made: dict[str, tuple[Job, Job]] = {}
    for cell, planned in missing:

        def create(request: Request, cell: ReplicationCell = cell) -> Job:
            return jobs.create(
                session,
                request,
                actor=actor,
                name=f"{asked.table} · {cell.row} · {request.trained.dataset.name} · seed {cell.seed}",
                tags=[*asked.tags, f"replication:{replication.id}"],
                priority=asked.priority,
                max_attempts=asked.max_attempts,
            )

        key = spec_hash(planned.spec)
        if key not in made:
            training = planned.training or create(planned.request)
            cell.train_made = planned.training is None
            probe = planned.probe or create(planned.probe_request(training))
            cell.probe_made = planned.probe is None
            made[key] = training, probe
        training, probe = made[key]
        cell.train_job_id, cell.probe_job_id = training.id, probe.id


def _locked(session: Session, grid: Sequence[Cell]) -> list[Job]:
    """The grid's jobs as they are now: trainings before the probes that wait for them."""
    trainings = sorted({of.training.id for of in grid if of.training is not None})
    probes = sorted({of.probe.id for of in grid if of.probe is not None})
    return [jobs.locked(session, job_id) for job_id in (*trainings, *probes)]


def _made(session: Session, job_ids: Sequence[str]) -> set[str]:
    """Those that some replication made; others were there on their own account."""
    trainings = select(ReplicationCell.train_job_id).where(ReplicationCell.train_made)
    probes = select(ReplicationCell.probe_job_id).where(ReplicationCell.probe_made)
    found = {
        *session.scalars(trainings.where(ReplicationCell.train_job_id.in_(job_ids))),
        *session.scalars(probes.where(ReplicationCell.probe_job_id.in_(job_ids))),
    }
    return {job_id for job_id in found if job_id is not None}


def _wanted_elsewhere(session: Session, job_ids: Sequence[str], replication: Replication) -> set[str | None]:
    others = (
        select(ReplicationCell.train_job_id, ReplicationCell.probe_job_id)
        .join(Replication, Replication.id == ReplicationCell.replication_id)
        .where(Replication.id != replication.id, Replication.cancelled_at.is_(None))
        .where(or_(ReplicationCell.train_job_id.in_(job_ids), ReplicationCell.probe_job_id.in_(job_ids)))
    )
    return {job_id for row in session.execute(others) for job_id in row}
