"""What can be trained on what."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from service import catalog
from service.auth import require
from service.schemas.catalog import DatasetList, MethodList

router = APIRouter(prefix="/v1", tags=["catalog"], dependencies=[Depends(require("read"))])


@router.get("/methods")
async def methods() -> MethodList:
    """The methods, each with its parameters, their defaults, ranges and meaning."""
    return MethodList(data=catalog.methods())


@router.get("/datasets")
async def datasets() -> DatasetList:
    """The datasets, each with its forms: their modalities, their tasks and the methods that fit."""
    return DatasetList(data=catalog.datasets())
