"""Scores of linear probes: one by one, over seeds, and as the tables of papers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from service import references, results
from service.access.auth import require
from service.deps import ReadSession
from service.result_formats import FORMATS
from service.schemas.results import GroupedList, ResultFilters, ResultPage, TableList, TableView
from service.web.packing import Packed

router = APIRouter(
    prefix="/v1", tags=["results"], dependencies=[Depends(require("read"))], route_class=Packed
)

TEXTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {media_type: {"schema": {"type": "string"}} for media_type, _ in FORMATS.values()}}
}
"""What a route that writes tables answers besides JSON."""


@router.get("/results/tables")
async def tables() -> TableList:
    """The tables that results are put into: published ones, and ours."""
    return TableList(data=results.tables())


@router.get(
    "/results",
    response_model=GroupedList | ResultPage | TableView,
    responses=TEXTS,
)
def list_results(
    session: ReadSession, asked: Annotated[ResultFilters, Query()]
) -> GroupedList | ResultPage | TableView | Response:
    """Mean and spread over seeds of equal trainings, every score by itself, or a table with what was published.

    In a mean count only trainings that have succeeded, each seed once; of scores with the same training seed and
    probe seed the newest. A table shows the trainings of its presets, beside what was published and by whom.
    """
    if asked.table is not None:
        return _table(session, asked.table, asked)
    filters = asked.model_dump(include={"dataset", "task", "metric", "split", "protocol", "method"})
    if asked.group_by == "method":
        return GroupedList(data=results.grouped(session, filters, compare=asked.compare))
    data, cursor = results.page(session, filters, asked.cursor, asked.limit, asked.job_id)
    return ResultPage(data=data, has_more=cursor is not None, next_cursor=cursor)


def _table(session: ReadSession, name: str, asked: ResultFilters) -> TableView | Response:
    table = references.table(name)
    changes = {"protocol": asked.protocol} if asked.protocol else {}
    groups = results.table_groups(session, table, changes)
    view = results.table_view(session, table, groups, protocol=asked.protocol)
    return written(view, asked.format)


def written(view: TableView, form: str) -> TableView | Response:
    """A table as JSON or in one of the FORMATS."""
    if form == "json":
        return view
    media_type, write = FORMATS[form]
    return Response(write(view), media_type=media_type)
