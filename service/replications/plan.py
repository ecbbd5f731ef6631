"""What a replication comes to: which trainings and probes, checked as jobs are, and which of them are there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from service import references, requests
from service.errors import ConflictError, Fault, InvalidError
from service.references import Row, Table
from service.requests import Request
from service.schemas.replications import NewReplication, ProbeOptions
from service.tables import Checkpoint, Dataset, Job
from training.spec import DATASETS, ProbeSpec, TrainSpec, spec_hash

MAX_TRAININGS = 500
LIVE = ("succeeded", "running", "starting", "interrupted", "queued")
"""States in which a job does what an equal one would do, the best first."""


class Place(NamedTuple):
    """A training's place in the table: all columns with this preset row are read off it."""

    row: str
    preset_row: str
    seed: int


@dataclass(frozen=True)
class Planned:
    place: Place
    columns: tuple[str, ...]
    spec: TrainSpec
    probe_spec: ProbeSpec
    """Of the probe, but for the run."""
    training: Job | None
    """There already. Locked, so that it does not end before it is waited for."""
    probe: Job | None
    """Likewise, of that training."""

    @property
    def request(self) -> Request:
        return Request("train", self.spec, self.spec, None)

    def probe_request(self, training: Job) -> Request:
        """It waits for the training, unless that has succeeded."""
        spec = self.probe_spec.model_copy(update={"run": training.id})
        return Request(
            "probe", spec, self.spec, training, training if training.state != "succeeded" else None
        )


class _Trained(NamedTuple):
    """A row's training on a preset row, whatever its seed."""

    columns: tuple[str, ...]
    spec: TrainSpec
    probe_spec: ProbeSpec


def spelt_out(asked: NewReplication) -> NewReplication:
    """The same with its rows and columns by their ids. Raises InvalidError, or NotFoundError for the table."""
    table = references.table(asked.table)
    if "seed" in asked.changes:
        raise InvalidError.at(
            "/changes/seed", "seed_in_changes", "each seed is a run of its own; give `seeds`"
        )
    rows = [
        row.id
        for place, name in enumerate(asked.methods or [each.id for each in table.rows])
        for row in _rows(table, name, f"/methods/{place}", named=asked.methods is not None)
    ]
    columns = [
        column.id
        for place, name in enumerate(asked.columns or [each.id for each in table.columns])
        for column in _measured(table, name, f"/columns/{place}")
    ]
    changed = {"methods": list(dict.fromkeys(rows)), "columns": list(dict.fromkeys(columns))}
    return asked.model_copy(update=changed)


def plan(session: Session, asked: NewReplication) -> list[Planned]:
    """`asked` must be spelt out. Raises InvalidError for what cannot run, ConflictError for data that is not there."""
    table = references.table(asked.table)
    columns = _columns(table, asked)
    if len(columns) * len(asked.seeds) > MAX_TRAININGS:
        raise InvalidError.at(
            "/seeds",
            "too_many_trainings",
            f"{len(columns)} trainings with {len(asked.seeds)} seeds each are more than {MAX_TRAININGS} at once; ask for "
            "fewer seeds, methods or columns",
        )
    _assert_registered(session, table, columns)
    trained = {key: _trained(session, table, key, columns[key], asked) for key in columns}
    wanted = {
        Place(*key, seed): each._replace(spec=each.spec.model_copy(update={"seed": seed}))
        for key, each in trained.items()
        for seed in asked.seeds
    }
    return _with_what_there_is(session, wanted)


def _rows(table: Table, name: str, pointer: str, *, named: bool) -> list[Row]:
    """The row of that id, or all of that method; without those that nothing here runs, unless they were named."""
    found = [row for row in table.rows if row.id == name] or [row for row in table.rows if row.method == name]
    if not found:
        there = ", ".join(row.id for row in table.rows if row.method is not None)
        raise InvalidError.at(
            pointer,
            "unknown_row",
            f"the table {table.id!r} has no row or method {name[:80]!r}; it has {there}",
        )
    if named and found[0].method is None:
        raise InvalidError.at(
            pointer, "row_not_runnable", f"nothing here runs the row {name!r}; leave it out"
        )
    return [row for row in found if row.method is not None]


def _measured(table: Table, name: str, pointer: str) -> Iterable[references.Column]:
    if name not in [column.id for column in table.columns]:
        there = ", ".join(column.id for column in table.columns)
        raise InvalidError.at(
            pointer, "unknown_column", f"the table {table.id!r} has no column {name[:80]!r}; it has {there}"
        )
    return table.measured(name)


def _columns(table: Table, asked: NewReplication) -> dict[tuple[str, str], tuple[str, ...]]:
    """(Row, preset row) → its columns."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for row in asked.methods or ():
        for column in asked.columns or ():
            preset_row = table.preset_row(row, column)
            if preset_row is not None and table.preset_of(row, column) is not None:
                key = (row, preset_row)
                found[key] = (*found.get(key, ()), column)
    if not found:
        raise InvalidError.at(
            "/methods", "nothing_to_run", "no preset runs any of these rows in any of these columns"
        )
    return found


def _assert_registered(
    session: Session, table: Table, columns: Mapping[tuple[str, str], tuple[str, ...]]
) -> None:
    there = {*DATASETS, *session.scalars(select(Dataset.name).where(Dataset.sha256.is_not(None)))}
    missing: dict[str, list[str]] = {}
    for column in dict.fromkeys(column for each in columns.values() for column in each):
        name = table.dataset_of(column)
        if name is not None and name not in there:
            missing.setdefault(name, []).append(column)
    if not missing:
        return
    faults = tuple(
        Fault(
            "/columns",
            "dataset_not_registered",
            f"{', '.join(of)}: the dataset {name!r} is not registered here; add it with `fusebox datasets add {name} "
            "PATH`, or leave these columns out",
        )
        for name, of in missing.items()
    )
    detail = faults[0].detail if len(faults) == 1 else f"{len(faults)} datasets are not registered here"
    raise ConflictError("datasets_missing", detail, faults=faults)


def _trained(
    session: Session, table: Table, key: tuple[str, str], columns: tuple[str, ...], asked: NewReplication
) -> _Trained:
    row, preset_row = key
    raw = table.spec_of(row, columns[0], seed=asked.seeds[0], changes=asked.changes) or {}
    try:
        spec = requests.checked(session, "train", raw).trained
    except InvalidError as error:
        raise _of_changes(error, table.preset_of(row, columns[0]) or "", asked.changes) from None
    dataset = table.dataset_of(columns[0])
    for what, name, own in (
        ("method", spec.method.name, table.row(row).method),
        ("dataset", spec.dataset.name, dataset),
    ):
        if name != own:
            raise InvalidError.at(
                f"/changes/{what}",
                "other_cell",
                f"with another {what} it is no cell of this table any more; leave its name out",
            )
    there = [task.name for task in spec.dataset.tasks]
    tasks = {each.task for each in table.columns if table.preset_row(row, each.id) == preset_row}
    for column in columns:
        if table.column(column).task not in there:
            raise ConflictError(
                "task_missing",
                f"the dataset {spec.dataset.name!r} has no task {table.column(column).task!r} as it is registered or "
                f"changed here; leave out the column {column!r}",
            )
    return _Trained(columns, spec, _probe(asked.probe, spec, [task for task in there if task in tasks]))


def _of_changes(error: InvalidError, preset: str, changes: Mapping[str, Any]) -> InvalidError | ConflictError:
    """The spec's faults as faults of the changes, or of the data where nothing was changed."""
    if not changes:
        return ConflictError(
            "preset_unfit", f"the preset {preset!r} does not fit what is here: {error.detail}"
        )
    faults = tuple(
        Fault(
            _below_changes(fault.pointer, changes),
            fault.code,
            f"{preset}: {fault.detail}; `methods` and `columns` say which presets are changed",
        )
        for fault in error.faults
    )
    return InvalidError(error.code, faults[0].detail, faults=faults)


def _below_changes(pointer: str, changes: Any) -> str:
    """As far as the changes have what the pointer leads to."""
    kept = "/changes"
    for part in pointer.split("/")[2:]:
        if not isinstance(changes, Mapping) or part not in changes:
            break
        kept, changes = f"{kept}/{part}", changes[part]
    return kept


def _probe(options: ProbeOptions, spec: TrainSpec, tasks: list[str]) -> ProbeSpec:
    """Of the tasks that the table reads off this training, whichever of its columns are asked for."""
    checkpoint = options.checkpoint or ("best" if spec.probe.patience is not None else "last")
    if checkpoint == "best" and not spec.probe.every_epochs:
        raise InvalidError.at(
            "/probe/checkpoint",
            "no_best_checkpoint",
            f"trainings of {spec.method.name} on {spec.dataset.name} mark no checkpoint as their best, because their "
            "probe.every_epochs is 0; take 'last'",
        )
    return ProbeSpec(
        run="planned",
        checkpoint=checkpoint,
        tasks=None if len(tasks) == len(spec.dataset.tasks) else tuple(tasks),
        protocol=options.protocol or spec.protocol,
        seed=options.seed,
        penalty=options.penalty,
        threads=spec.threads,
    )


def _with_what_there_is(session: Session, wanted: Mapping[Place, _Trained]) -> list[Planned]:
    hashes = {place: spec_hash(each.spec) for place, each in wanted.items()}
    equal: dict[str, list[Job]] = {}
    for job in _live(session, "train", Job.spec_sha256.in_(hashes.values())):
        equal.setdefault(job.spec_sha256, []).append(job)
    ids = [job.id for jobs in equal.values() for job in jobs]
    probes: dict[str, list[Job]] = {}
    for job in _live(session, "probe", Job.source_job_id.in_(ids)):
        probes.setdefault(job.source_job_id or "", []).append(job)
    kept = set(
        session.scalars(select(Checkpoint.job_id).where(Checkpoint.job_id.in_(ids), Checkpoint.exists))
    )
    planned = []
    for place, each in wanted.items():
        there = [
            (training, _same_probe(probes.get(training.id, []), each))
            for training in equal.get(hashes[place], [])
        ]
        usable = [(job, probe) for job, probe in there if probe or job.state != "succeeded" or job.id in kept]
        usable.sort(key=lambda found: (LIVE.index(found[0].state), found[1] is None))
        training, probe = usable[0] if usable else (None, None)
        planned.append(Planned(place, each.columns, each.spec, each.probe_spec, training, probe))
    return planned


def _live(session: Session, kind: str, condition: Any) -> list[Job]:
    """Newest first; locked in the order in which whoever waits for several locks them."""
    query = select(Job).where(Job.kind == kind, Job.state.in_(LIVE), condition).order_by(Job.id)
    locked = query.with_for_update() if kind == "train" else query
    return list(session.scalars(locked.execution_options(populate_existing=True)))[::-1]


def _same_probe(probes: Iterable[Job], wanted: _Trained) -> Job | None:
    """One that scores all these tasks in the same way; that it scores others too, or takes more threads, is the same."""
    every = {task.name for task in wanted.spec.dataset.tasks}
    asked = wanted.probe_spec.model_dump(mode="json")
    tasks = set(asked["tasks"] or every)
    same = [
        probe
        for probe in probes
        if all(probe.spec.get(name) == asked[name] for name in ("checkpoint", "protocol", "seed", "penalty"))
        and tasks <= set(probe.spec.get("tasks") or every)
    ]
    return min(same, key=lambda probe: LIVE.index(probe.state), default=None)
