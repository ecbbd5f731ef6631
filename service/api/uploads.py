"""Uploading datasets: announced, sent in parts that may break off, completed, checked; then they are there by their name."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from service.access.auth import Principal, require
from service.data import upload_files, uploads
from service.data.upload_files import OFFSET
from service.deps import ReadSession, ResourcesDep, WriteSession
from service.errors import UnsupportedMediaError
from service.schemas.uploads import NewUpload, UploadFilters, UploadList, UploadOut

router = APIRouter(prefix="/v1", tags=["datasets"])
read = Depends(require("read"))
Submitter = Annotated[Principal, Depends(require("submit"))]
Offset = Annotated[
    int, Header(alias=OFFSET, ge=0, le=2**50, description="How many bytes have arrived before.")
]
PART = "application/offset+octet-stream"
MEDIA_TYPES = (PART, "application/octet-stream")
GONE = 499
"""Nobody reads this answer; it is for the log of requests."""
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {PART: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/datasets", status_code=201)
def begin(
    asked: NewUpload, session: WriteSession, resources: ResourcesDep, submitter: Submitter, response: Response
) -> UploadOut:
    """Announce a dataset of one's own. Its file then goes to the address in `Location`, in parts.

    An image folder is sent as a .zip or .tar of it, shards likewise or as one .tar, Parquet as a file or packed files, arrays
    as an .npz. docs/datasets.md says what is in them.
    """
    row = uploads.begin(session, resources.settings, asked, submitter.name)
    response.headers["Location"] = uploads.address(row.id)
    return uploads.told(row, resources.settings)


@router.get("/datasets/uploads", dependencies=[read])
def list_uploads(
    session: ReadSession, resources: ResourcesDep, asked: Annotated[UploadFilters, Query()]
) -> UploadList:
    """Newest first, of the last week."""
    found = uploads.page(session, asked.name, asked.limit)
    return UploadList(data=[uploads.told(row, resources.settings) for row in found])


@router.get("/datasets/uploads/{upload_id}", dependencies=[read])
def get_upload(upload_id: str, session: ReadSession, resources: ResourcesDep) -> UploadOut:
    """How far it is, and what checking found."""
    return uploads.told(uploads.get(session, upload_id), resources.settings)


@router.head("/datasets/uploads/{upload_id}", dependencies=[read])
def offset(upload_id: str, session: ReadSession, resources: ResourcesDep) -> Response:
    """How many bytes have arrived, as `Upload-Offset`: where to go on after a broken connection."""
    row = uploads.told(uploads.get(session, upload_id), resources.settings)
    headers = {OFFSET: str(row.offset), "Cache-Control": "no-store"}
    if row.size_bytes is not None:
        headers["Upload-Length"] = str(row.size_bytes)
    return Response(headers=headers)


@router.patch("/datasets/uploads/{upload_id}", status_code=204, openapi_extra=BODY, response_class=Response)
async def append(
    upload_id: str, request: Request, resources: ResourcesDep, submitter: Submitter, upload_offset: Offset
) -> Response:
    """Send the next part. `Upload-Offset` says how many bytes came before it, in the request and in the answer.

    A part that breaks off is kept as far as it has come. When the offset is not right, 409 says the right one.
    """
    settings = resources.settings
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in MEDIA_TYPES:
        raise UnsupportedMediaError("unsupported_media_type", f"send parts of the file as {PART}")
    most = await run_in_threadpool(uploads.most_bytes, resources.sessions, settings, upload_id)
    try:
        there = await upload_files.append(settings, upload_id, upload_offset, request.stream(), most)
    except ClientDisconnect:
        return Response(status_code=GONE)
    return Response(status_code=204, headers={OFFSET: str(there)})


@router.post("/datasets/uploads/{upload_id}/complete", status_code=202)
def complete(
    upload_id: str, session: WriteSession, resources: ResourcesDep, submitter: Submitter
) -> UploadOut:
    """Say that all has been sent. A worker checks it then; `state` becomes ready, or refused with the reason."""
    return uploads.told(uploads.complete(session, resources.settings, upload_id), resources.settings)


@router.delete("/datasets/uploads/{upload_id}", status_code=204)
def remove(upload_id: str, resources: ResourcesDep, submitter: Submitter) -> None:
    """Break an upload off, or forget what came of it. A dataset that it has become stays."""
    uploads.remove(resources.sessions, resources.settings, upload_id)
