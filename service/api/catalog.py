"""What can be trained on what."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from service import catalog
from service.access.auth import require
from service.deps import ReadSession, ResourcesDep
from service.schemas.catalog import DatasetDetail, DatasetList, MethodList, PresetList

router = APIRouter(prefix="/v1", tags=["catalog"], dependencies=[Depends(require("read"))])


@router.get("/methods")
async def methods() -> MethodList:
    """The methods, each with its parameters, their defaults, ranges and meaning."""
    return MethodList(data=catalog.methods())


@router.get("/datasets")
def datasets(session: ReadSession) -> DatasetList:
    """The datasets, each with its forms: their modalities, their tasks and the methods that fit."""
    return DatasetList(data=catalog.datasets(session))


@router.get("/presets")
def presets(session: ReadSession) -> PresetList:
    """The runs of the published tables, each with its spec."""
    return PresetList(data=catalog.presets(session))


@router.get("/datasets/{name}")
def dataset(name: str, session: ReadSession, resources: ResourcesDep) -> DatasetDetail:
    """One dataset, and what registering it found."""
    return catalog.dataset(session, resources.settings, name)
