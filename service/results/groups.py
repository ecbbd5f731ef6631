"""What each group has reached, beside what was published for it, and how the methods of a column compare."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import cast

from sqlalchemy.orm import Session

from service import references
from service.references import Cell, Column, Row, Table
from service.results.presets import Presets
from service.results.scores import Filters, Group, Measured, measured
from service.results.statistics import compared, interval, spread, verdict
from service.schemas.results import ComparedMethod, GroupedResult, Published, SeedScore, Verdict
from training.spec import Protocol

ColumnKey = tuple[str, ...]
"""Dataset, metric, split, protocol, family and task: what one method can be compared with another in."""
Candidate = tuple[Table, Row, Column]


def grouped(session: Session, filters: Filters, *, compare: bool = True) -> list[GroupedResult]:
    """Ordered so that what stands in one table comes together: a method's place is the papers', never its score's.

    compare: also each method with each other one of its column, those that a filter leaves out included.
    """
    found = measured(session, {**filters, "method": None})
    wanted = [group for group in found if group.method == (filters.get("method") or group.method)]
    order = {method: place for place, method in enumerate(references.methods())}

    def place(group: Group) -> tuple[object, ...]:
        return (*_column(group), order.get(group.method, len(order)), group.method, group.group_sha256)

    beside = _Beside(session)
    comparisons = _comparisons(found) if compare else {}
    return [
        _result(group, found[group], beside, comparisons.get(group, []))
        for group in sorted(wanted, key=place)
    ]


def published_of(table: Table, column: Column, cells: Iterable[Cell]) -> list[Published]:
    """In the unit of the probes' own numbers, the primary one first."""
    label = {row.id: row.label for row in table.rows}
    return [
        Published(
            value=column.own(cell.value),
            std=None if cell.std is None else column.own(cell.std),
            n=cell.n,
            unit="fraction" if column.unit == "percent" else "mse",
            printed=str(cell.value) if cell.std is None else f"{cell.value} ± {cell.std}",
            ran_by=cell.ran_by,
            source=cell.source,
            primary=cell.primary,
            table=table.id,
            row=label[cell.row],
        )
        for cell in sorted(cells, key=lambda cell: not cell.primary)
    ]


class _Beside:
    """Finds what was published for a group."""

    def __init__(self, session: Session) -> None:
        self._presets = Presets(session)
        self._candidates: dict[tuple[str | None, ...], list[Candidate]] = {}
        for table in references.tables().values():
            for row in table.rows:
                for column in table.columns:
                    preset_row = table.preset_row(row.id, column.id)
                    preset = references.PRESET_OF.get((preset_row or "", row.method or ""))
                    if preset is not None and table.cells_at(row.id, column.id):
                        key = (
                            preset.spec["dataset"]["name"],
                            column.task,
                            column.metric,
                            column.split,
                            row.method,
                        )
                        self._candidates.setdefault(key, []).append((table, row, column))

    def published(self, group: Group) -> tuple[list[Published], bool]:
        """Also whether the group is that of the published run: if it is, only that run's numbers, and else those of all
        runs of the method on the task."""
        candidates = self._candidates.get(
            (group.dataset, group.task, group.metric, group.split, group.method), []
        )
        protocol = cast(Protocol, group.protocol)
        exact = [
            each for each in candidates if self._presets.group_under(*each, protocol) == group.group_sha256
        ]
        every = [
            value
            for table, row, column in exact or candidates
            for value in published_of(table, column, table.cells_at(row.id, column.id))
        ]
        once = {(each.value, each.std, each.ran_by): each for each in reversed(every)}
        return list(reversed(once.values())), bool(exact)


def judge(
    mean: float | None, published: Iterable[Published], *, exact: bool
) -> tuple[Verdict | None, float | None]:
    """The verdict, and the mean less the published one where they may be compared.

    exact: whether the trainings are the published ones.
    """
    primary = next((each for each in published if each.primary), None)
    if primary is None:
        return None, None
    if not exact:
        return "other_spec", None
    return verdict(mean, primary.value, primary.std), None if mean is None else mean - primary.value


def _result(
    group: Group, reached: Measured, beside: _Beside, comparisons: list[ComparedMethod]
) -> GroupedResult:
    values = list(reached.seeds.values())
    mean = statistics.fmean(values)
    published, exact = beside.published(group)
    judged, difference = judge(mean, published, exact=exact)
    return GroupedResult.model_validate(
        {
            **group._asdict(),
            "mean": mean,
            "std": spread(values),
            "n": len(values),
            "interval": interval(values),
            "chance": reached.chance,
            "seeds": [SeedScore(seed=seed, value=value) for seed, value in reached.seeds.items()],
            "job_ids": reached.job_ids,
            "published": published,
            "verdict": judged,
            "difference": difference,
            "comparisons": comparisons,
        }
    )


def _comparisons(found: Mapping[Group, Measured]) -> dict[Group, list[ComparedMethod]]:
    """Of a method that was trained in several ways it is not said which of them it is; it is compared with none."""
    columns: dict[ColumnKey, dict[str, list[Group]]] = {}
    for group in found:
        columns.setdefault(_column(group), {}).setdefault(group.method, []).append(group)
    comparisons: dict[Group, list[ComparedMethod]] = {}
    for methods in columns.values():
        single = {method: groups[0] for method, groups in sorted(methods.items()) if len(groups) == 1}
        tests = compared({method: found[group].seeds for method, group in single.items()})
        for method, group in single.items():
            comparisons[group] = [
                ComparedMethod.model_validate({"method": other, **test._asdict()})
                for (one, other), test in tests.items()
                if one == method and test.n_common
            ]
    return comparisons


def _column(group: Group) -> ColumnKey:
    return group[:6]
