"""Looking at what training sees: samples of a dataset before and after augmentation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.access.auth import require
from service.api.images import png
from service.data import previews
from service.deps import ReadSession, ResourcesDep
from service.schemas.previews import PreviewOut
from training.spec import Form
from training.spec.preview import SAMPLES

router = APIRouter(prefix="/v1", tags=["datasets"], dependencies=[Depends(require("read"))])
Asked = Annotated[
    Form | None, Query(description="Of digits and Trifeatures; by default pairs. Others have one preview.")
]
Place = Annotated[int, Path(ge=0, lt=SAMPLES)]
Look = Annotated[int, Path(ge=0, le=2, description="0: as it is kept; 1 and 2: views.")]


@router.get("/datasets/{name}/preview")
def preview(name: str, session: ReadSession, resources: ResourcesDep, form: Asked = None) -> PreviewOut:
    """Some training samples as they are kept and as two views, with their labels, how often each label comes, and how many
    samples each split has. A worker makes it; until then the answer is 404 `no_preview`."""
    return previews.preview(session, resources.settings, name, form)


@router.get("/datasets/{name}/preview/{sample}/{modality}/{look}.png", response_class=Response)
def image(
    name: str,
    sample: Place,
    modality: str,
    look: Look,
    session: ReadSession,
    resources: ResourcesDep,
    request: Request,
    form: Asked = None,
) -> Response:
    """An image of the preview."""
    return png(request, *previews.image(session, resources.settings, name, form, sample, modality, look))
