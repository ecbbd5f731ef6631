"""Scores of linear probes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from service import results
from service.auth import require
from service.deps import ReadSession
from service.schemas.results import GroupedList, ResultFilters, ResultPage

router = APIRouter(prefix="/v1", tags=["results"], dependencies=[Depends(require("read"))])


@router.get("/results")
def list_results(session: ReadSession, asked: Annotated[ResultFilters, Query()]) -> GroupedList | ResultPage:
    """Mean and spread over seeds of equal trainings, or every score by itself.

    In a mean count only trainings that have succeeded, each seed once; of scores with the same training seed and
    probe seed the newest.
    """
    filters = asked.model_dump(include={"dataset", "task", "metric", "split", "protocol", "method"})
    if asked.group_by == "method":
        return GroupedList(data=results.grouped(session, filters))
    data, cursor = results.page(session, filters, asked.cursor, asked.limit)
    return ResultPage(data=data, has_more=cursor is not None, next_cursor=cursor)
