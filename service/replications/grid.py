"""How far replications are, read off their jobs: the state of each cell, and of the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from service import references, results
from service.schemas.replications import (
    CellJob,
    CellOut,
    CellState,
    MadeOn,
    NewReplication,
    ReplicationOut,
    ReplicationSummary,
)
from service.schemas.results import TableView
from service.states import ACTIVE
from service.tables import Job, JobEvent, Replication, ReplicationCell

WholeState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Cell(NamedTuple):
    """With its jobs, as far as there are any."""

    cell: ReplicationCell
    training: Job | None
    probe: Job | None


def cells(session: Session, replications: Sequence[Replication]) -> dict[str, list[Cell]]:
    """By replication, in the order of the table's rows, the presets' names and the seeds as they were asked for."""
    training, probe = aliased(Job), aliased(Job)
    query = (
        select(ReplicationCell, training, probe)
        .outerjoin(training, training.id == ReplicationCell.train_job_id)
        .outerjoin(probe, probe.id == ReplicationCell.probe_job_id)
        .where(ReplicationCell.replication_id.in_([each.id for each in replications]))
    )
    found: dict[str, list[Cell]] = {each.id: [] for each in replications}
    for row in session.execute(query):
        found[row[0].replication_id].append(Cell(*row))
    for each in replications:
        rows, seeds = each.request["methods"], each.request["seeds"]
        found[each.id].sort(
            key=lambda of: (rows.index(of.cell.row), of.cell.preset_row, seeds.index(of.cell.seed))
        )
    return found


def told(session: Session, replication: Replication, *, with_results: bool) -> ReplicationOut:
    grid = cells(session, [replication])[replication.id]
    return ReplicationOut(
        **_summary(replication, grid).model_dump(),
        cells=[_cell(each) for each in grid],
        made_on=_made_on(session, grid),
        results=_view(session, replication, grid) if with_results else None,
    )


def summaries(session: Session, replications: Sequence[Replication]) -> list[ReplicationSummary]:
    grids = cells(session, replications)
    return [_summary(each, grids[each.id]) for each in replications]


def view(session: Session, replication: Replication) -> TableView:
    """The table as the replication's trainings fill it."""
    return _view(session, replication, cells(session, [replication])[replication.id])


def cell_state(of: Cell) -> CellState:
    """A cell is done when its probe is, and has failed when either has."""
    if of.training is None or of.probe is None:
        return "lost"
    for job in (of.training, of.probe):
        if job.state in ("failed", "cancelled"):
            return "failed" if job.state == "failed" else "cancelled"
    if of.probe.state == "succeeded":
        return "succeeded"
    begun = (*ACTIVE, "interrupted")
    return "running" if of.training.state in (*begun, "succeeded") or of.probe.state in begun else "queued"


def whole_state(states: Collection[CellState]) -> WholeState:
    if "running" in states or ("queued" in states and set(states) != {"queued"}):
        return "running"
    if "queued" in states:
        return "queued"
    if "failed" in states or "lost" in states:
        return "failed"
    return "cancelled" if "cancelled" in states else "succeeded"


def _summary(replication: Replication, grid: Iterable[Cell]) -> ReplicationSummary:
    counts = Counter(cell_state(each) for each in grid)
    return ReplicationSummary(
        id=replication.id,
        table=replication.table,
        request=replication.request,
        state=whole_state(counts),
        counts=dict(counts),
        created_by=replication.created_by,
        created_at=replication.created_at,
    )


def _cell(of: Cell) -> CellOut:
    return CellOut(
        row=of.cell.row,
        preset_row=of.cell.preset_row,
        seed=of.cell.seed,
        state=cell_state(of),
        training=_job(of.training, made=of.cell.train_made),
        probe=_job(of.probe, made=of.cell.probe_made),
    )


def _job(job: Job | None, *, made: bool) -> CellJob | None:
    if job is None:
        return None
    columns = {name: getattr(job, name) for name in ("id", "state", "reason", "error", "progress")}
    return CellJob(**columns, reused=not made)


def _view(session: Session, replication: Replication, grid: Iterable[Cell]) -> TableView:
    """A table that this version does not know any more raises NotFoundError."""
    asked = NewReplication.model_validate(replication.request)
    table = references.table(asked.table)
    groups = {
        (of.cell.row, column): of.training.group_sha256
        for of in grid
        if of.training is not None
        for column in asked.columns or ()
        if table.preset_row(of.cell.row, column) == of.cell.preset_row
    }
    protocols = {of.training.spec.get("protocol") for of in grid if of.training is not None}
    protocol = asked.probe.protocol or (protocols.pop() if len(protocols) == 1 else table.protocol)
    return results.table_view(session, table, groups, protocol=protocol)


def _made_on(session: Session, grid: Iterable[Cell]) -> list[MadeOn]:
    """By each training's last start, the most frequent first."""
    ids = {of.training.id for of in grid if of.training is not None}
    started = (
        select(JobEvent.job_id, JobEvent.data)
        .where(JobEvent.job_id.in_(ids), JobEvent.type == "started")
        .order_by(JobEvent.seq)
    )
    last = {job_id: (data["device"], data["code_version"]) for job_id, data in session.execute(started)}
    return [
        MadeOn(device=device, code_version=version, trainings=count)
        for (device, version), count in Counter(last.values()).most_common()
    ]
