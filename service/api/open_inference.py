"""The Open Inference Protocol, version 2, with the binary tensor data extension: for clients of model servers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from service import health
from service.access.auth import require
from service.api.bodies import Unread, is_unread
from service.api.embeddings import unless_gone
from service.deps import ResourcesDep
from service.dialects import open_inference
from service.schemas.open_inference import (
    InferAnswer,
    InferRequest,
    LiveOut,
    ModelMetadata,
    ModelReadyOut,
    ReadyOut,
    ServerOut,
)
from service.version import VERSION

router = APIRouter(prefix="/v2", tags=["open inference"])
read, infers, public = (Depends(require(scope)) for scope in ("read", "infer", "public"))

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": InferAnswer,
        "description": "The embeddings; as bytes behind the JSON where these are asked for",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
BINARY: dict[str, Any] = {
    "requestBody": {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    }
}
JsonOrTensors = Annotated[InferRequest, Unread]
JsonBytes = Annotated[
    str | None,
    Header(
        alias=open_inference.HEADER,
        description="Where tensors follow the JSON: how many bytes of the body are JSON.",
    ),
]


@router.get("", dependencies=[public])
async def server_metadata() -> ServerOut:
    """What answers here, and which extensions of the protocol it knows."""
    return ServerOut(version=VERSION)


@router.head("/health/live", dependencies=[public], include_in_schema=False)
@router.get("/health/live", dependencies=[public])
async def server_live() -> LiveOut:
    """The process answers."""
    return LiveOut()


@router.head("/health/ready", dependencies=[public], include_in_schema=False)
@router.get("/health/ready", dependencies=[public], responses={503: {"model": ReadyOut}})
def server_ready(resources: ResourcesDep, response: Response) -> ReadyOut:
    """As GET /readyz, which says more."""
    ready = health.readiness(resources).status != "failed"
    response.status_code = 200 if ready else 503
    return ReadyOut(ready=ready)


@router.get("/models/{model}", dependencies=[read])
@router.get("/models/{model}/versions/{version}", dependencies=[read])
def model_metadata(model: str, resources: ResourcesDep, version: str | None = None) -> ModelMetadata:
    """The tensors that the network's graph takes and gives: images and numbers standardised, texts as tokens."""
    return open_inference.metadata(resources.store, open_inference.reference(model, version))


@router.get("/models/{model}/ready", dependencies=[read])
@router.get("/models/{model}/versions/{version}/ready", dependencies=[read])
async def model_ready(model: str, resources: ResourcesDep, version: str | None = None) -> ModelReadyOut:
    """Loads the model if it is not in memory; 404 or 503 say why there is none."""
    await resources.inference.find(open_inference.reference(model, version))
    return ModelReadyOut(name=model)


@router.post("/models/{model}/infer", responses=ANSWERS, response_class=Response, openapi_extra=BINARY, dependencies=[infers])  # fmt: skip
@router.post("/models/{model}/versions/{version}/infer", responses=ANSWERS, response_class=Response, openapi_extra=BINARY, dependencies=[infers])  # fmt: skip
async def infer(
    model: str,
    request: Request,
    resources: ResourcesDep,
    body: JsonOrTensors,
    json_bytes: JsonBytes = None,
    version: str | None = None,
) -> Response:
    """The fused embeddings of prepared tensors, as the graph gives them: not of length 1.

    Modalities may be left out, of all rows or, by the tensor `present`, of some. Tensors may follow the JSON as bytes.
    """
    sent, tail = open_inference.parsed(await request.body(), json_bytes) if is_unread(body) else (body, b"")
    which = open_inference.reference(model, version)
    answered: list[open_inference.Answer] = []

    async def work() -> bytes:
        answered.append(
            await open_inference.infer(resources.inference, resources.settings, which, sent, tail)
        )
        return answered[0].body

    response = await unless_gone(request, work())
    if answered and answered[0].json_bytes is not None:
        response.headers["Content-Type"] = "application/octet-stream"
        response.headers[open_inference.HEADER] = str(answered[0].json_bytes)
    return response
