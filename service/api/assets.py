"""Images to embed: uploaded once, named by their id from then on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from service.access.auth import Principal, require
from service.data import asset_files, assets
from service.deps import ReadSession, ResourcesDep, WriteSession
from service.errors import InvalidError, TooLargeError, UnsupportedMediaError
from service.schemas.assets import AssetOut
from service.web.forms import fields_of

router = APIRouter(prefix="/v1", tags=["assets"])

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            **{
                f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
                for kind in ("png", "jpeg", "webp")
            },
        },
    }
}


@router.post("/assets", status_code=201, openapi_extra=BODY, responses={200: {"model": AssetOut}})
async def upload(
    request: Request,
    response: Response,
    resources: ResourcesDep,
    session: WriteSession,
    principal: Annotated[Principal, Depends(require("infer"))],
) -> AssetOut:
    """Stores a PNG, JPEG or WebP image, sent as the form field `file` or as the body itself.

    The image is re-encoded without loss and without metadata; `id` is the sha256 of the result. Uploading the same
    picture again answers 200 with the asset that is there.
    """
    data = await _sent(request, resources.settings.max_image_bytes)
    asset, is_new = await run_in_threadpool(assets.store, session, resources.settings, data, principal.name)
    response.headers["Location"] = f"/v1/assets/{asset.id}"
    if not is_new:
        response.status_code = 200
    return AssetOut.model_validate(asset)


@router.get("/assets/{asset_id}", response_class=Response, dependencies=[Depends(require("read"))])
def download(asset_id: str, resources: ResourcesDep, session: ReadSession) -> Response:
    """The stored image."""
    asset = assets.get(session, asset_id)
    headers = {
        "Content-Disposition": f'attachment; filename="{asset.id}.png"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=31536000, immutable",
        "ETag": f'"{asset.id}"',
    }
    return Response(
        asset_files.read(resources.settings, asset.id), media_type=asset.media_type, headers=headers
    )


async def _sent(request: Request, max_bytes: int) -> bytes:
    """The image file of the request, of which no more is read than may be kept."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _from_form(request, max_bytes)
    if content_type and not content_type.startswith("image/") and content_type != "application/octet-stream":
        raise UnsupportedMediaError(
            "unsupported_media_type",
            "send the image as the form field `file` (multipart/form-data), or as the body with its image/… type",
        )
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(data)


async def _from_form(request: Request, max_bytes: int) -> bytes:
    async with fields_of(request, "/body", max_files=1, max_fields=10) as fields:
        file = dict(fields).get("file")
        if not isinstance(file, UploadFile):
            raise InvalidError.at("/body/file", "missing", "the form has no file field `file`; name it so")
        if (file.size or 0) > max_bytes:
            raise _too_large(max_bytes)
        return await file.read()


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError("image_too_large", f"an image may have {max_bytes} bytes; make it smaller")
