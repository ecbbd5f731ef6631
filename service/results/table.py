"""A table: its rows and columns, each cell with what was measured here and what was published, and what both say.

Columns that are means are made of the cells of their row, one training seed at a time; so they have a spread, an interval
and tests like any other.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy.orm import Session

from service import references
from service.references import Column, Row, Table
from service.results.groups import judge, published_of
from service.results.presets import Groups, Place, Wanted, wanted
from service.results.scores import Measured, measured
from service.results.statistics import compared, interval, marks, spread
from service.schemas.results import (
    ComparedRow,
    Mark,
    SeedScore,
    Shown,
    TableCell,
    TableColumn,
    TableOut,
    TableRow,
    TableView,
)
from training.spec import Protocol

DECIMALS = 2
"""Of numbers as they are shown."""


NOTHING = Measured({}, None, [])


def tables() -> list[TableOut]:
    return [
        TableOut(
            id=table.id,
            title=table.title,
            source=table.source,
            protocol=table.protocol,
            columns=[column.id for column in table.columns],
            rows=[row.id for row in table.rows],
        )
        for table in references.tables().values()
    ]


class _Found(NamedTuple):
    """What is behind one cell."""

    group_sha256: str | None
    reached: Measured
    reason: str | None
    """Why nothing is."""
    exact: bool
    """Whether it is of the published trainings, under the table's protocol."""
    chance: float | None


def table_view(
    session: Session, table: Table, groups: Groups, *, protocol: Protocol | None = None
) -> TableView:
    """The table as the trainings of `groups` fill it; what `groups` does not name was not run.

    protocol: the probes'; by default the presets'. A training whose spec is not that of the table's preset under this
    protocol gets the verdict `other_spec`, and the published numbers stand beside it all the same.
    """
    protocol = protocol or table.protocol
    found = _found(session, table, groups, protocol)
    columns = [_column(table, column, found) for column in table.columns]
    cells = {column.id: _cells(table, column, found) for column in table.columns}
    return TableView(
        id=table.id,
        title=table.title,
        source=table.source,
        version=references.references().version,
        protocol=protocol,
        columns=columns,
        rows=[
            TableRow(
                id=row.id,
                label=row.label,
                method=row.method,
                upper_bound=row.upper_bound,
                cells=[cells[column.id][row.id] for column in table.columns],
            )
            for row in table.rows
        ],
    )


def _found(session: Session, table: Table, groups: Groups, protocol: Protocol) -> dict[Place, _Found]:
    presets = wanted(session, table, {"protocol": protocol})
    asked = {sha256 for sha256 in groups.values() if sha256 is not None}
    scores: dict[tuple[str | None, ...], Measured] = {
        (group.group_sha256, group.dataset, group.task, group.metric, group.split): reached
        for group, reached in measured(session, {"protocol": protocol}, asked).items()
    }
    found: dict[Place, _Found] = {}
    for (row_id, column_id), preset in presets.items():
        column, sha256 = table.column(column_id), groups.get((row_id, column_id))
        key = (sha256, table.dataset_of(column_id), column.task, column.metric, column.split)
        found[row_id, column_id] = _of_one(preset, sha256, scores.get(key, NOTHING))
    for row in table.rows:
        for column in table.columns:
            if column.mean_of:
                found[row.id, column.id] = _of_mean([found[row.id, each] for each in column.mean_of])
    return found


def _of_one(preset: Wanted, sha256: str | None, reached: Measured) -> _Found:
    reason = None
    if not reached.seeds:
        missing = preset.reason or "it was not asked for"
        reason = missing if sha256 is None else "no training of it has succeeded and been probed yet"
    return _Found(sha256, reached, reason, sha256 == preset.group_sha256, preset.chance)


def _of_mean(parts: list[_Found]) -> _Found:
    """Over the seeds that all parts have."""
    chances = [each.chance for each in parts if each.chance is not None]
    chance = statistics.fmean(chances) if len(chances) == len(parts) else None
    common = set.intersection(*(set(each.reached.seeds) for each in parts))
    seeds = {seed: statistics.fmean(each.reached.seeds[seed] for each in parts) for seed in sorted(common)}
    job_ids = list(dict.fromkeys(job_id for each in parts for job_id in each.reached.job_ids))
    reason = None
    if not seeds:
        missing = (each.reason for each in parts if each.reason is not None)
        reason = next(missing, "the columns it is the mean of have no seed in common")
    return _Found(
        None,
        Measured(seeds, chance, job_ids) if seeds else NOTHING,
        reason,
        all(each.exact for each in parts),
        chance,
    )


def _column(table: Table, column: Column, found: Mapping[Place, _Found]) -> TableColumn:
    chances = (found[row.id, column.id].chance for row in table.rows)
    return TableColumn(
        id=column.id,
        title=column.title,
        dataset=table.dataset_of(column.id),
        task=column.task,
        mean_of=list(column.mean_of),
        family=column.family,
        metric=column.metric,
        split=column.split,
        unit=column.unit,
        better=column.better,
        chance=next((chance for chance in chances if chance is not None), None),
    )


def _cells(table: Table, column: Column, found: Mapping[Place, _Found]) -> dict[str, TableCell]:
    """By row."""
    seeds = {row.id: found[row.id, column.id].reached.seeds for row in table.rows}
    ran = {row: values for row, values in seeds.items() if values}
    tests = compared(ran)
    ranked = {row.id for row in table.rows if not row.upper_bound}
    means = {row: statistics.fmean(values.values()) for row, values in ran.items() if row in ranked}
    marked = marks(means, tests, column.better)
    return {
        row.id: _cell(
            table,
            row,
            column,
            found[row.id, column.id],
            marked.get(row.id),
            [
                ComparedRow.model_validate({"row": other, **test._asdict()})
                for (one, other), test in tests.items()
                if one == row.id and test.n_common
            ],
        )
        for row in table.rows
    }


def _cell(
    table: Table,
    row: Row,
    column: Column,
    found: _Found,
    mark: Mark | None,
    comparisons: list[ComparedRow],
) -> TableCell:
    reached, values = found.reached, list(found.reached.seeds.values())
    mean = statistics.fmean(values) if values else None
    published = published_of(table, column, table.cells_at(row.id, column.id))
    judged, difference = judge(mean, published, exact=found.exact or mean is None)
    return TableCell(
        column=column.id,
        state="ran" if values else "not_run",
        reason=found.reason,
        preset=table.preset_of(row.id, column.id),
        group_sha256=found.group_sha256,
        mean=mean,
        std=spread(values),
        n=len(values),
        interval=interval(values),
        chance=reached.chance if values else found.chance,
        shown=_shown(column, values, found.chance) if values else None,
        seeds=[SeedScore(seed=seed, value=value) for seed, value in reached.seeds.items()],
        job_ids=reached.job_ids,
        published=published,
        verdict=judged,
        difference=difference,
        mark=mark,
        comparisons=comparisons,
    )


def _shown(column: Column, values: list[float], chance: float | None) -> Shown:
    mean, std, ends = column.shown(statistics.fmean(values)), spread(values), interval(values)
    return Shown(
        mean=mean,
        std=None if std is None else column.shown(std),
        interval=None if ends is None else (column.shown(ends[0]), column.shown(ends[1])),
        chance=None if chance is None else column.shown(chance),
        text=f"{mean:.{DECIMALS}f}" + ("" if std is None else f" ± {column.shown(std):.{DECIMALS}f}"),
    )
