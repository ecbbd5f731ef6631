"""Which trainings stand behind a table's cells: the groups of its presets, on the datasets that are registered here."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy.orm import Session

from service.data import datasets
from service.errors import ConflictError
from service.references import Column, Row, Table
from training.spec import Lookup, Protocol, TrainSpec, spec_hash

Place = tuple[str, str]
"""A row's id and a column's."""
Groups = Mapping[Place, str | None]
"""The group_sha256 behind each cell; none where there is no such training. Columns that are means have no place in it."""


class Wanted(NamedTuple):
    """The trainings that a cell is of."""

    group_sha256: str | None
    reason: str | None = None
    """Why there is none."""
    chance: float | None = None
    """What guessing gives in the column's metric, where the task says so."""


def table_groups(
    session: Session, table: Table, changes: Mapping[str, Any] | None = None
) -> dict[Place, str | None]:
    """The groups of the table's presets, with `changes` merged into each spec.

    None where nothing here runs the cell, or its dataset is not registered; `table_view` says which.
    """
    return {place: each.group_sha256 for place, each in wanted(session, table, changes or {}).items()}


def wanted(session: Session, table: Table, changes: Mapping[str, Any]) -> dict[Place, Wanted]:
    of = Presets(session)
    return {(row.id, column.id): of.wanted(table, row, column, changes) for row, column in _places(table)}


class Presets:
    """Checks presets as jobs are checked, each and each dataset once."""

    def __init__(self, session: Session) -> None:
        self._lookup: Lookup = functools.cache(datasets.lookup(session))
        self._known: dict[str, TrainSpec | str] = {}

    def group_under(self, table: Table, row: Row, column: Column, protocol: Protocol) -> str | None:
        return self.wanted(table, row, column, {"protocol": protocol}).group_sha256

    def wanted(self, table: Table, row: Row, column: Column, changes: Mapping[str, Any]) -> Wanted:
        if row.method is None:
            return Wanted(None, "nothing here runs this row")
        raw = table.spec_of(row.id, column.id, seed=0, changes=changes)
        if raw is None:
            preset_row = table.preset_row(row.id, column.id)
            return Wanted(None, f"no preset of {preset_row!r} runs the method {row.method!r}")
        known = repr(raw)
        if known not in self._known:
            self._known[known] = self._checked(raw)
        spec = self._known[known]
        if isinstance(spec, str):
            return Wanted(None, spec)
        task = next((each for each in spec.dataset.tasks if each.name == column.task), None)
        if task is None:
            return Wanted(
                None, f"the dataset {spec.dataset.name!r} that is registered here has no task {column.task!r}"
            )
        return Wanted(
            spec_hash(spec, with_seed=False), None, task.chance if column.metric == "macro_accuracy" else None
        )

    def _checked(self, raw: Mapping[str, Any]) -> TrainSpec | str:
        """Or why there is no such training."""
        name = raw["dataset"]["name"]
        try:
            return TrainSpec.model_validate(raw, context={"datasets": self._lookup})
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "unknown_dataset":
                return f"the dataset {name!r} is not registered; add it with: fusebox datasets add {name} …"
            return f"the dataset {name!r} that is registered here does not fit the preset: {first['msg']}"
        except ConflictError as error:
            return error.detail


def _places(table: Table) -> Iterator[tuple[Row, Column]]:
    return ((row, column) for row in table.rows for column in table.columns if not column.mean_of)
