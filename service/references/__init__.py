"""The tables that results are compared with: their rows and columns, what was published, and the run behind each cell.

`references.yaml` comes in, checked when it is first read; tables leave. A cell is a row's method on a column's dataset and
task. It has a preset that runs it here, or none, and any number of published values, each with who ran it. Numbers are
as printed, in the column's unit; `SHOWN_PER_OWN` leads from the probes' own to it.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.errors import NotFoundError
from training.events import Family
from training.spec import Protocol
from training.spec.presets import PRESETS, ROWS, Preset, merged
from training.spec.train import Metric

Json = dict[str, Any]
Unit = Literal["percent", "mse_e4"]
"""What tables are printed in: percent, and ten-thousandths of a mean squared error."""
SHOWN_PER_OWN: Mapping[Unit, float] = {"percent": 100.0, "mse_e4": 1e4}
"""A printed number is this many times the probe's."""
FILE = Path(__file__).parent / "references.yaml"
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
PRESET_OF: Mapping[tuple[str, str], Preset] = {(each.row, each.method): each for each in PRESETS.values()}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Column(_Part):
    """One task in one metric, or the mean of several columns of the same row."""

    id: Id
    title: str
    preset_row: str | None = None
    """Of `training.spec.presets.ROWS`."""
    task: str | None = None
    """Of that row's dataset."""
    mean_of: tuple[str, ...] = ()
    """Columns whose cells this one's are the mean of, training seed by training seed."""
    family: Family
    metric: Metric
    split: Literal["test"] = "test"
    unit: Unit
    better: Literal["higher", "lower"] = "higher"

    @model_validator(mode="after")
    def _is_measured_or_a_mean(self) -> Self:
        measured = self.preset_row is not None and self.task is not None
        if measured == bool(self.mean_of) or (self.preset_row is None) != (self.task is None):
            raise ValueError(f"column {self.id!r} needs preset_row and task, or mean_of, and not both")
        return self

    def own(self, shown: float) -> float:
        """A printed number as probes give it: of 77 % 0.77."""
        return round(shown / SHOWN_PER_OWN[self.unit], 12)

    def shown(self, own: float) -> float:
        """The reverse; what is printed as 4.23 is 4.23 again."""
        return round(own * SHOWN_PER_OWN[self.unit], 9)


class Row(_Part):
    """One method, as the table knows it."""

    id: Id
    label: str
    method: str | None = None
    """None where nothing here runs it."""
    presets: Mapping[str, str] = {}
    """Column → preset row, where it is not the column's."""
    changes: Json = {}
    """Merged into the presets' specs."""
    upper_bound: bool = False
    """Sees the labels while it trains: shown beside the others, and not ranked among them."""


class Cell(_Part):
    """One published value, in the column's unit."""

    row: str
    column: str
    value: float
    std: float | None
    n: int | None
    """Seeds, where it was said."""
    ran_by: str
    source: str
    primary: bool
    """Verdicts go by it: it is of the paper whose table this is."""


class Printed(_Part):
    """What somebody ran and somebody, perhaps another, printed."""

    ran_by: str
    source: str
    n: Annotated[int, Field(ge=1)] | None = None
    primary: bool = False
    values: Mapping[str, Mapping[str, float | tuple[float, Annotated[float, Field(ge=0)]]]]
    """Row → column → value, or value and std."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(
            Cell(
                row=row,
                column=column,
                value=printed[0] if isinstance(printed, tuple) else printed,
                std=printed[1] if isinstance(printed, tuple) else None,
                n=self.n,
                ran_by=self.ran_by,
                source=self.source,
                primary=self.primary,
            )
            for row, columns in self.values.items()
            for column, printed in columns.items()
        )


class Table(_Part):
    id: Id
    title: str
    source: str | None = None
    """The paper whose table it is; none where it is ours."""
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    published: tuple[Printed, ...] = ()

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        columns, rows = [each.id for each in self.columns], [each.id for each in self.rows]
        for name in _twice(columns) + _twice(rows):
            raise ValueError(f"table {self.id!r} has {name!r} twice")
        measured = [each.id for each in self.columns if not each.mean_of]
        for column in self.columns:
            _assert_known(column.mean_of, measured, f"mean_of of column {column.id!r}")
            if len({column.unit, *(self.column(each).unit for each in column.mean_of)}) > 1:
                raise ValueError(f"column {column.id!r} is a mean of columns in other units")
        for row in self.rows:
            _assert_known(row.presets, measured, f"presets of row {row.id!r}")
        _assert_known((each.row for each in self.cells), rows, f"published rows of {self.id!r}")
        _assert_known((each.column for each in self.cells), columns, f"published columns of {self.id!r}")
        return self

    @model_validator(mode="after")
    def _verdicts_go_by_one(self) -> Self:
        primary = [(each.row, each.column) for each in self.cells if each.primary]
        without = {(each.row, each.column) for each in self.cells}.difference(primary)
        for place in (*_twice(primary), *sorted(without)):
            raise ValueError(f"table {self.id!r} needs exactly one primary value at {'/'.join(place)}")
        return self

    @functools.cached_property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for printed in self.published for cell in printed.cells)

    @property
    def protocol(self) -> Protocol:
        """The presets'."""
        presets = (self._preset(row, column) for row in self.rows for column in self.columns)
        found: Protocol = next((each.spec["protocol"] for each in presets if each is not None), "reference")
        return found

    def row(self, row_id: str) -> Row:
        """Raises NotFoundError."""
        return _named(self.rows, row_id, f"row of the table {self.id!r}")

    def column(self, column_id: str) -> Column:
        """Raises NotFoundError."""
        return _named(self.columns, column_id, f"column of the table {self.id!r}")

    def cells_at(self, row_id: str, column_id: str) -> tuple[Cell, ...]:
        return tuple(each for each in self.cells if (each.row, each.column) == (row_id, column_id))

    def measured(self, column_id: str) -> tuple[Column, ...]:
        """The columns that must be probed for this one: itself, or those it is the mean of."""
        column = self.column(column_id)
        return tuple(self.column(each) for each in column.mean_of) or (column,)

    def preset_row(self, row_id: str, column_id: str) -> str | None:
        """None for a column that is a mean."""
        return self.row(row_id).presets.get(column_id, self.column(column_id).preset_row)

    def dataset_of(self, column_id: str) -> str | None:
        """None for a column that is a mean."""
        preset_row = self.column(column_id).preset_row or ""
        return ROWS[preset_row].dataset["name"] if preset_row in ROWS else None

    def spec_of(
        self, row_id: str, column_id: str, *, seed: int, changes: Mapping[str, Any] | None = None
    ) -> Json | None:
        """The training behind a cell, before its defaults are filled in; None where nothing here runs it, and for a mean.

        changes: merged into it last but for the seed.
        """
        row = self.row(row_id)
        preset = self._preset(row, self.column(column_id))
        if preset is None:
            return None
        changed: Json = merged(merged(preset.spec, row.changes), changes or {})
        return {**changed, "seed": seed}

    def preset_of(self, row_id: str, column_id: str) -> str | None:
        """Its name."""
        preset = self._preset(self.row(row_id), self.column(column_id))
        return preset.name if preset is not None else None

    def _preset(self, row: Row, column: Column) -> Preset | None:
        preset_row = row.presets.get(column.id, column.preset_row)
        return PRESET_OF.get((preset_row, row.method)) if preset_row and row.method else None


class References(_Part):
    version: Annotated[int, Field(ge=1)]
    """Raised with every change of a number."""
    tables: tuple[Table, ...]

    @model_validator(mode="after")
    def _no_table_twice(self) -> Self:
        for name in _twice(each.id for each in self.tables):
            raise ValueError(f"there are two tables {name!r}")
        return self


def read(text: str) -> References:
    """Of a file like references.yaml. Raises pydantic's ValidationError, or YAMLError where it is no YAML."""
    return References.model_validate(yaml.safe_load(text))


@functools.cache
def references() -> References:
    return read(FILE.read_text("utf-8"))


def tables() -> Mapping[str, Table]:
    """By id, in their order."""
    return {each.id: each for each in references().tables}


def table(table_id: str) -> Table:
    """Raises NotFoundError that names those there are."""
    return _named(references().tables, table_id, "table")


def methods() -> tuple[str, ...]:
    """All of them in the papers' order, which is that of lists of results."""
    return tuple(row.method for row in table("digits").rows if row.method is not None)


Named = TypeVar("Named", Row, Column, Table)


def _named(parts: Iterable[Named], name: str, what: str) -> Named:
    there = {part.id: part for part in parts}
    if name not in there:
        raise NotFoundError(
            f"{what.split()[0]}_not_found",
            f"there is no {what} {name[:80]!r}; there are {', '.join(there)}",
        )
    return there[name]


Name = TypeVar("Name", bound=Hashable)


def _twice(names: Iterable[Name]) -> list[Name]:
    return [name for name, count in Counter(names).items() if count > 1]


def _assert_known(names: Iterable[str], known: list[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where} names {name!r}; there are {', '.join(known)}")
