"""How the service says that it is well."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

PartState = Literal["ok", "degraded", "failed"]


class Alive(BaseModel):
    status: Literal["ok"] = "ok"
    version: str


class PartOut(BaseModel):
    """One thing the service needs. Without a degraded one it works less well, without a failed one not at all."""

    state: PartState
    detail: str


class Readiness(BaseModel):
    status: PartState
    parts: dict[str, PartOut]
