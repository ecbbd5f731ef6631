"""Whether the service lives, whether it can work, and what it counts."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from service import health
from service.access.auth import require
from service.deps import ReadSession, ResourcesDep
from service.schemas.health import Alive, Readiness
from service.version import VERSION

router = APIRouter(tags=["health"])
public = Depends(require("public"))


@router.head("/livez", dependencies=[public], include_in_schema=False)
@router.get("/livez", dependencies=[public])
async def livez() -> Alive:
    """The process answers. Look at nothing else before restarting it."""
    return Alive(version=VERSION)


@router.head("/readyz", dependencies=[public], include_in_schema=False)
@router.get("/readyz", dependencies=[public], responses={503: {"model": Readiness}})
def readyz(resources: ResourcesDep, response: Response) -> Readiness:
    """Whether requests should be sent here: 503 when a part without which nothing works has failed."""
    readiness = health.readiness(resources)
    if readiness.status == "failed":
        response.status_code = 503
    return readiness


@router.get("/metrics", dependencies=[Depends(require("read"))], response_class=PlainTextResponse)
def metrics(session: ReadSession, request: Request, resources: ResourcesDep) -> PlainTextResponse:
    """Jobs by state, requests by route, and what the inference engine does, in Prometheus' text format."""
    text = health.exposition(session, request.app.state.traffic, resources)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")
