"""What may be asked for, as JSON Schema: what forms are made from."""

from __future__ import annotations

import functools
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import TypeAdapter

from service.access.auth import require
from training.spec import SPECS, Kind

router = APIRouter(prefix="/v1/specs", tags=["catalog"], dependencies=[Depends(require("read"))])


@router.get("/{kind}")
async def spec(kind: Kind) -> dict[str, Any]:
    """The JSON Schema of a job's spec: every field with its default, range and meaning."""
    return _schema(kind)


@functools.cache
def _schema(kind: Kind) -> dict[str, Any]:
    return TypeAdapter(SPECS[kind]).json_schema()
