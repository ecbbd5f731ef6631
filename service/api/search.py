"""Embeddings of whole datasets: the files of embed jobs, and the nearest of their vectors."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse

from service.access.auth import require
from service.answers import embedded, embedded_samples, search
from service.api.embeddings import unless_gone
from service.api.images import png
from service.deps import ReadSession, ResourcesDep
from service.schemas.embedded_samples import EmbeddedSamples, Points, RowsAsked
from service.schemas.search import EmbeddingFiles, SearchAnswer, SearchRequest

router = APIRouter(prefix="/v1", tags=["search"])
read = Depends(require("read"))
NEIGHBOURS: dict[int | str, dict[str, Any]] = {200: {"model": SearchAnswer, "description": "The neighbours"}}
Row = Annotated[int, Path(ge=0, le=2**62)]


@router.get("/jobs/{job_id}/embeddings", dependencies=[read])
def embeddings_of_dataset(job_id: str, session: ReadSession, resources: ResourcesDep) -> EmbeddingFiles:
    """What an embed job has left: its files with their sizes and sha256, and what is in them."""
    return EmbeddingFiles.of(embedded.of_job(session, resources.settings, job_id))


@router.get("/jobs/{job_id}/embeddings/points", dependencies=[read])
def points_of_embeddings(job_id: str, session: ReadSession, resources: ResourcesDep) -> Points:
    """The labels of the samples that `projection.json` has coordinates of, to colour a map by."""
    return embedded_samples.points(embedded.of_job(session, resources.settings, job_id))


@router.get("/jobs/{job_id}/embeddings/samples", dependencies=[read])
def samples_of_embeddings(
    job_id: str, session: ReadSession, resources: ResourcesDep, asked: Annotated[RowsAsked, Query()]
) -> EmbeddedSamples:
    """Samples that were embedded, with their labels and what they look like."""
    found = embedded.of_job(session, resources.settings, job_id)
    return embedded_samples.shown(session, resources.settings, found, asked.row)


@router.get(
    "/jobs/{job_id}/embeddings/samples/{row}/{modality}.png", dependencies=[read], response_class=Response
)
def image_of_embeddings(
    job_id: str, row: Row, modality: str, session: ReadSession, resources: ResourcesDep, request: Request
) -> Response:
    """A sample's image, small, where no dataset has it: digits and Trifeatures are made anew by each training."""
    found = embedded.of_job(session, resources.settings, job_id)
    return png(request, *embedded_samples.image(found, row, modality))


@router.get("/jobs/{job_id}/embeddings/{file}", dependencies=[read], response_class=FileResponse)
def embeddings_file(job_id: str, file: str, session: ReadSession, resources: ResourcesDep) -> FileResponse:
    """One of the files, or `manifest.json`. Parts of it may be asked for by `Range`."""
    found = embedded.of_job(session, resources.settings, job_id)
    path = embedded.file(found, file)
    kept = found.manifest.files.get(file)
    headers = {
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=31536000, immutable",
        "ETag": f'"{kept.sha256 if kept else found.sha256}"',
    }
    media_type = "application/json" if path.suffix == ".json" else "application/octet-stream"
    return FileResponse(path, media_type=media_type, filename=f"{job_id}-{file}", headers=headers)


@router.post(
    "/search", dependencies=[Depends(require("infer"))], responses=NEIGHBOURS, response_class=Response
)
async def nearest_neighbours(request: Request, asked: SearchRequest, resources: ResourcesDep) -> Response:
    """The samples of an embedded dataset that are nearest to a sample, to inputs that are embedded first, or to a vector.

    Every sample is compared. Inputs must be embedded by a model of the checkpoint that embedded the dataset.
    """

    async def found() -> bytes:
        return (await search.search(resources, asked)).model_dump_json().encode()

    return await unless_gone(request, found())
