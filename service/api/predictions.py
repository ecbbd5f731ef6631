"""What a model's heads say of samples: the class, the labels or the numbers of a task, and what that is worth."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from service.access.auth import require
from service.answers import predictions
from service.api.embeddings import unless_gone
from service.deps import ResourcesDep
from service.schemas.predictions import PredictionList, PredictionRequest

router = APIRouter(prefix="/v1", tags=["embeddings"], dependencies=[Depends(require("infer"))])

ANSWERS: dict[int | str, dict[str, Any]] = {200: {"model": PredictionList, "description": "The predictions"}}


@router.post("/predictions", responses=ANSWERS, response_class=Response)
async def predictions_of_samples(
    request: Request, resources: ResourcesDep, body: PredictionRequest
) -> Response:
    """What heads say of each sample, in the order of the inputs: probabilities of classes or labels, or numbers.

    `heads` of the answer says what each is worth: its score on test samples with the 95 % interval, and the probe that
    fitted it. A head that the model does not have is refused, and those that it has are named.
    """
    return await unless_gone(request, predictions.predict(resources.inference, resources.settings, body))
