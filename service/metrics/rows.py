"""Many rows in one statement, which is what keeps up with a training that logs.

SQLite's driver runs a statement for many rows without coming back for each; PostgreSQL takes a column as one array, and so
any number of rows as one statement that it has planned before. Arrays are sent as bytes: as text they take five times the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

ROWS_AT_ONCE = 20_000
"""So many rows' columns are in memory a second time while they are sent."""
POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call]


def put(session: Session, table: Table, rows: Sequence[Sequence[Any]], *, replace: bool = False) -> None:
    """Adds rows, each with all of the table's columns in their order. With `replace`, one whose key is there takes its
    place; without, such a key is an error."""
    connection = session.connection()
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = list(rows[start : start + ROWS_AT_ONCE])
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(_for_sqlite(table, replace), some)
        else:
            columns = tuple(map(list, zip(*some, strict=True)))
            connection.exec_driver_sql(_for_postgres(table, replace), columns)


@cache
def _for_sqlite(table: Table, replace: bool) -> str:
    places = ", ".join("?" for _ in table.columns)
    return f"{_into(table)} VALUES ({places}){_or_replace(table) if replace else ''}"


@cache
def _for_postgres(table: Table, replace: bool) -> str:
    arrays = ", ".join(f"%b::{column.type.compile(POSTGRES)}[]" for column in table.columns)
    return f"{_into(table)} SELECT * FROM unnest({arrays}){_or_replace(table) if replace else ''}"


def _into(table: Table) -> str:
    return f"INSERT INTO {table.name} ({', '.join(column.name for column in table.columns)})"


def _or_replace(table: Table) -> str:
    key = ", ".join(column.name for column in table.primary_key)
    rest = (column.name for column in table.columns if not column.primary_key)
    changes = ", ".join(f"{name} = excluded.{name}" for name in rest)
    return f" ON CONFLICT ({key}) DO UPDATE SET {changes}"
