"""Looking at samples of registered datasets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.access.auth import require
from service.api.images import png
from service.data import samples
from service.deps import ReadSession, ResourcesDep
from service.schemas.samples import SamplePage, SamplesAsked

router = APIRouter(prefix="/v1", tags=["datasets"], dependencies=[Depends(require("read"))])
Row = Annotated[int, Path(ge=0, le=2**31 - 1)]


@router.get("/datasets/{name}/samples")
def page(
    name: str, session: ReadSession, resources: ResourcesDep, asked: Annotated[SamplesAsked, Query()]
) -> SamplePage:
    """Samples of a split with their labels, as they are kept: after registering, before any augmentation."""
    return samples.page(session, resources.settings, name, asked)


@router.get("/datasets/{name}/samples/{row}/{modality}.png", response_class=Response)
def image(
    name: str, row: Row, modality: str, session: ReadSession, resources: ResourcesDep, request: Request
) -> Response:
    """A sample's image as it is kept: cut to a square and resized."""
    return png(request, *samples.image(session, resources.settings, name, row, modality))
