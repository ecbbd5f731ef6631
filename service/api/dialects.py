"""Embeddings at the addresses, and in the words, of hosted services: their clients need nothing but another address."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from service.access.auth import require
from service.api.embeddings import unless_gone
from service.deps import ResourcesDep
from service.dialects import hosted
from service.schemas.dialects import CohereAnswer, CohereRequest, VoyageAnswer, VoyageRequest

router = APIRouter(tags=["embeddings"], dependencies=[Depends(require("infer"))])

VOYAGE: dict[int | str, dict[str, Any]] = {200: {"model": VoyageAnswer, "description": "The embeddings"}}
COHERE: dict[int | str, dict[str, Any]] = {200: {"model": CohereAnswer, "description": "The embeddings"}}


@router.post("/v1/multimodalembeddings", responses=VOYAGE, response_class=Response)
async def embeddings_for_voyages_clients(
    request: Request, resources: ResourcesDep, body: VoyageRequest
) -> Response:
    """As Voyage's multimodal endpoint: each input is a list of parts, and has one vector, of length 1.

    For models with one text or one image modality, or one of each; a sample has one of each at most.
    """
    return await unless_gone(request, hosted.voyage(resources.inference, resources.settings, body))


@router.post("/v2/embed", responses=COHERE, response_class=Response)
async def embeddings_for_coheres_clients(
    request: Request, resources: ResourcesDep, body: CohereRequest
) -> Response:
    """As Cohere's: texts, images, or lists of parts, and of each vector all the types that are asked for at once."""
    return await unless_gone(request, hosted.cohere(resources.inference, resources.settings, body))
