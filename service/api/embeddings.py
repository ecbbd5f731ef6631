"""The fused embedding of samples: image, text, sequence, table, or whatever the model's modalities are, in one vector."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.datastructures import QueryParams

from models_store.manifest import Precision
from service.access.auth import require
from service.answers import embeddings, form_samples
from service.api.bodies import Unread, is_unread
from service.deps import ResourcesDep
from service.errors import InvalidError
from service.inference.finish import Encoding
from service.inference.timing import finished, patience_s, timed
from service.schemas.embeddings import Digest, EmbeddingList, EmbeddingRequest, Finish, Reference
from service.schemas.predictions import PredictedEmbeddingList

router = APIRouter(prefix="/v1", tags=["embeddings"], dependencies=[Depends(require("infer"))])

ANSWERS: dict[int | str, dict[str, Any]] = {200: {"model": EmbeddingList, "description": "The embeddings"}}
WITH_HEADS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": EmbeddingList | PredictedEmbeddingList,
        "description": "The embeddings, with predictions where `heads` were named",
    }
}
MODALITIES: dict[str, Any] = {
    "parameters": [
        {
            "name": "modalities",
            "in": "query",
            "description": "One parameter per modality of the model, by its name: the id of an uploaded image, or a text. "
            "Sequences and tables are POSTed.",
            "schema": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "example": {"image": "the id that POST /v1/assets answered", "text": "a handwritten three"},
            },
            "style": "form",
            "explode": True,
        }
    ]
}
JsonOrForm = Annotated[EmbeddingRequest, Unread]
FORM: dict[str, Any] = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["model"],
                    "properties": {
                        "model": {"type": "string"},
                        **{name: {"type": "string"} for name in sorted(form_samples.OPTIONS)},
                    },
                    "additionalProperties": {
                        "description": "One field per modality: an image's file, a text, or numbers as JSON.",
                        "anyOf": [{"type": "string"}, {"type": "string", "format": "binary"}],
                    },
                }
            }
        }
    }
}
OWN = frozenset({"model", "model_digest", "precision", *Finish.model_fields})
"""Query parameters that are no modality."""
FIXED = re.compile(r"[0-9a-f]{64}|.+@[0-9]+")
"""References that always mean the same model."""
GONE = 499
"""Nobody reads this answer; it is for the log of requests."""


async def _form(
    encoding_format: Encoding = "float",
    dimensions: Annotated[int | None, Query(ge=1)] = None,
    normalize: bool = True,
) -> Finish:
    return Finish(encoding_format=encoding_format, dimensions=dimensions, normalize=normalize)


@router.get("/embeddings", responses=ANSWERS, response_class=Response, openapi_extra=MODALITIES)
async def embedding_of_one_sample(
    request: Request,
    resources: ResourcesDep,
    model: Annotated[Reference, Query(description="Name, `name@version`, alias or digest.")],
    form: Annotated[Finish, Depends(_form)],
    model_digest: Annotated[Digest | None, Query(description="Refuse (409) if `model` is another.")] = None,
    precision: Annotated[Precision, Query(description="In which the network computes.")] = "fp32",
) -> Response:
    """The fused embedding of one sample, normalised to length 1 unless `normalize=false`.

    Each further parameter is one of the model's modalities, by the model's own name: for an image the id of an
    uploaded asset, for a text the text; sequences and tables are POSTed. Modalities may be left out where the model
    allows it.
    """
    _check_once(request.query_params)
    values = [(name, value) for name, value in request.query_params.multi_items() if name not in OWN]
    work = embeddings.embed_one(resources.inference, model, values, form, model_digest, precision)
    answer = await unless_gone(request, work)
    # A name may mean another model tomorrow; a version never does.
    answer.headers["Cache-Control"] = (
        "private, max-age=86400" if FIXED.fullmatch(model) else "private, no-cache"
    )
    return answer


@router.post("/embeddings", responses=WITH_HEADS, response_class=Response, openapi_extra=FORM)
async def embeddings_of_samples(request: Request, resources: ResourcesDep, body: JsonOrForm) -> Response:
    """One vector per sample, in the order of the inputs, normalised to length 1 unless `normalize` is false.

    `dimensions` keeps the first numbers and normalises again. If any input is bad, the request is refused and each
    bad input is named by its pointer. OpenAI's `{model, input}` works for models with one text modality. With `heads`,
    what these say of each sample stands beside its vector, from the same pass through the network; with `explain`,
    what each modality has to do with it. A form (multipart/form-data) has one sample: a field for each modality, a file
    for an image, and the options beside them.
    """
    engine, settings = resources.inference, resources.settings
    if not is_unread(body):
        return await unless_gone(request, embeddings.embed(engine, settings, body))
    sample = await form_samples.read(request)
    return await unless_gone(request, form_samples.embed(engine, settings, sample))


def _check_once(query: QueryParams) -> None:
    """Raises InvalidError for an option that is given twice: of two values, none is meant more than the other."""
    for name in sorted(OWN):
        if len(query.getlist(name)) > 1:
            raise InvalidError.at(f"/query/{name}", "given_twice", "give each option once")


async def unless_gone(request: Request, work: Coroutine[Any, Any, bytes]) -> Response:
    """The answer, unless the client leaves before: then what is not computed yet will not be."""
    with timed(patience_s(request.headers.getlist("prefer"))) as timing:
        answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            content, meters = answer.result(), request.app.state.resources.inference.meters
            return Response(content, media_type="application/json", headers=finished(timing, meters))
        return Response(status_code=GONE)
    finally:
        answer.cancel()
        gone.cancel()
        await asyncio.wait((answer, gone))


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
