"""Whole curves as text, a piece at a time, so that their length costs no memory.

A piece is read in a session of its own: a client that takes its time holds no transaction open. What is logged meanwhile is
in it or not; what a resumed run does again meanwhile may be missing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db import Sessions, reading
from service.metrics.records import POINTS, SERIES
from service.result_formats import guarded

POINTS_AT_ONCE = 5_000
COLUMNS = ("step", "value", "nonfinite", "at", "attempt")


def as_ndjson(sessions: Sessions, series_id: int, after_step: int | None) -> Iterator[str]:
    """A line for each point, as `PointOut` is."""
    for rows in pieces(sessions, series_id, after_step):
        yield "".join(
            json.dumps({"step": step, "value": value, "nonfinite": kind, "at": _moment(at), "attempt": attempt}) + "\n"
            for step, value, kind, at, attempt in rows
        )  # fmt: skip


def as_csv(sessions: Sessions, series_id: int, after_step: int | None) -> Iterator[str]:
    """RFC 4180, with a header. A value that is not finite is empty, and `nonfinite` says what it was."""
    yield _lines([COLUMNS])
    for rows in pieces(sessions, series_id, after_step):
        yield _lines(_cells(row) for row in rows)


STREAMS: dict[str, tuple[str, Callable[[Sessions, int, int | None], Iterator[str]]]] = {
    "ndjson": ("application/x-ndjson", as_ndjson),
    "csv": ("text/csv", as_csv),
}
"""Format → media type, and the function that writes it."""


def job_as_csv(sessions: Sessions, job_id: str) -> Iterator[str]:
    """All curves of a job in the long form: a line for each point, with its metric's name. No name can be a formula."""
    yield _lines([("name", *COLUMNS)])
    for series_id, name in series_of(sessions, job_id):
        shown = guarded({"name": name})["name"]
        for rows in pieces(sessions, series_id, None):
            yield _lines((shown, *_cells(row)) for row in rows)


def series_of(sessions: Sessions, job_id: str) -> Sequence[tuple[int, str]]:
    """Ids and names, by name."""
    mine = select(SERIES.c.id, SERIES.c.name).where(SERIES.c.job_id == job_id, SERIES.c.n > 0)
    with reading(sessions) as session:
        return session.execute(mine.order_by(SERIES.c.name)).all()


def pieces(sessions: Sessions, series_id: int, after_step: int | None) -> Iterator[Sequence[Any]]:
    """(step, value, nonfinite, at, attempt) by rising steps."""
    after = -1 if after_step is None else after_step
    while True:
        with reading(sessions) as session:
            rows = _piece(session, series_id, after)
        if rows:
            yield rows
        if len(rows) < POINTS_AT_ONCE:
            return
        after = rows[-1][0]


def _piece(session: Session, series_id: int, after: int) -> Sequence[Any]:
    later = select(*(POINTS.c[name] for name in COLUMNS)).where(
        POINTS.c.series_id == series_id, POINTS.c.step > after
    )
    return session.execute(later.order_by(POINTS.c.step).limit(POINTS_AT_ONCE)).all()


def _cells(row: Sequence[Any]) -> tuple[Any, ...]:
    step, value, kind, at, attempt = row
    return step, "" if value is None else repr(value), kind or "", _moment(at), attempt


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _lines(rows: Any) -> str:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()
