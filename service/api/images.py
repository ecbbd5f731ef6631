"""An image that the service shows, with what a browser may do with it."""

from __future__ import annotations

from fastapi import Request, Response


def png(request: Request, content: bytes, tag: str) -> Response:
    # A name may mean another dataset tomorrow, so whoever has the image asks whether it still is that.
    headers = {
        "ETag": f'"{tag}"',
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)
