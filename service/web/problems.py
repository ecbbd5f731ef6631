"""Every error as `application/problem+json` (RFC 9457): what, where (a JSON pointer), and what to do.

A client never sees a stack trace, a path, SQL or the name of a library.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from service.db import UNREACHABLE
from service.errors import Fault, FuseboxError, InvalidError, UnavailableError, UnsupportedMediaError
from service.web.headers import HEADERS

log = logging.getLogger(__name__)

URN = "urn:fusebox:problem"
"""Problem types are names, not addresses: `code` and `detail` say all there is to say."""
OPEN_INFERENCE = "/v2/models"
"""Where clients look for the member `error`."""
TITLES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    415: "Unsupported media type",
}
REMEDIES = {
    404: "there is nothing at this address; those that there are stand in /docs",
    405: "this address does not take that method; those that it takes stand in /docs",
}


class FaultOut(BaseModel):
    pointer: str
    code: str
    detail: str


class Problem(BaseModel):
    """An RFC 9457 problem. `code` is stable; `detail` is for people; `errors` says where in the request."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    errors: list[FaultOut] = []


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": title}
    for status, title in {400: "Malformed request", 401: "Not authenticated", 403: "Not permitted", 404: "Not found", 409: "Conflict",
                          413: "Too large", 415: "Unsupported media type", 422: "Invalid request",
                          429: "Too many requests", 503: "Temporarily unavailable",
                          504: "Not done in time"}.items()
}  # fmt: skip


def answer(request: Request, error: FuseboxError) -> JSONResponse:
    problem = Problem(
        type=f"{URN}:{error.code}",
        title=error.title,
        status=error.status,
        code=error.code,
        detail=error.detail,
        instance=request.url.path,
        errors=[FaultOut(pointer=each.pointer, code=each.code, detail=each.detail) for each in error.faults],
    )
    content = problem.model_dump()
    if request.url.path.startswith(OPEN_INFERENCE):
        content["error"] = error.detail
    headers = {**error.headers}
    if error.retry_after_s:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(content, error.status, headers, media_type="application/problem+json")


def invalid(errors: Sequence[Any], body: Any, prefix: str = "") -> InvalidError:
    """Pydantic's errors as one InvalidError. `body` is what was sent, `prefix` the pointer of it in the request."""
    faults = tuple(_fault(each, body, prefix) for each in errors[:100])
    first = faults[0]
    where = f" at {first.pointer}" if first.pointer else ""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return InvalidError("invalid_request", f"{first.detail}{where}{more}", faults=faults)


def invalid_spec(error: ValidationError, body: Any, prefix: str = "/spec") -> InvalidError:
    problem = invalid(error.errors(include_url=False), body, prefix)
    problem.code = "invalid_spec"
    return problem


def unreachable(error: Exception) -> UnavailableError:
    """What of `service.db.UNREACHABLE` is told; the log has the rest."""
    log.error("database: %s", error)
    return UnavailableError(
        "database_unavailable", "the database does not answer; try again soon", retry_after_s=2
    )


def install(app: FastAPI) -> None:
    @app.exception_handler(FuseboxError)
    async def _ours(request: Request, error: FuseboxError) -> JSONResponse:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        if isinstance(error.body, bytes) and error.body:  # not said to be JSON, so nobody has parsed it
            remedy = "send JSON, with 'Content-Type: application/json'"
            return answer(request, UnsupportedMediaError("not_json", remedy))
        return answer(request, invalid(error.errors(), error.body))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        # Whatever is raised while FastAPI reads a body it calls a bad request.
        if isinstance(error.__cause__, FuseboxError):
            return answer(request, error.__cause__)
        detail = REMEDIES.get(error.status_code, str(error.detail))
        ours = FuseboxError(f"http_{error.status_code}", detail)
        ours.status, ours.title = error.status_code, TITLES.get(error.status_code, "Error")
        response = answer(request, ours)
        response.headers.update(error.headers or {})
        if error.status_code == 405:
            response.headers["Allow"] = ", ".join(sorted(_methods(request)))
        return response

    def _database(request: Request, error: Exception) -> JSONResponse:
        return answer(request, unreachable(error))

    for kind in UNREACHABLE:
        app.add_exception_handler(kind, _database)

    @app.exception_handler(Exception)
    def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.exception("unforeseen", exc_info=error)
        response = answer(
            request, FuseboxError("internal", "an error on our side; it is in the server's log")
        )
        # This answer alone is given outside of all middleware.
        response.headers.update(HEADERS)
        return response

    described = app.openapi

    def openapi() -> dict[str, Any]:
        return _as_problems(described())

    app.openapi = openapi  # type: ignore[method-assign]


def _methods(request: Request) -> set[str]:
    """Those that an address takes. Of several routes that have its path the framework names the first one's only."""
    return {
        method
        for each in iter_route_contexts(request.app.routes)
        if each.path and each.methods and compile_path(each.path)[0].match(request.url.path)
        for method in each.methods
    }


def _as_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """Says of every error that it is `application/problem+json`; FastAPI knows only one media type of an operation."""
    problem = {"$ref": "#/components/schemas/Problem"}
    for operation in (each for path in schema["paths"].values() for each in path.values()):
        for response in operation["responses"].values():
            if any(each.get("schema") == problem for each in response.get("content", {}).values()):
                response["content"] = {"application/problem+json": {"schema": problem}}
    return schema


def _fault(error: Mapping[str, Any], body: Any, prefix: str) -> Fault:
    context = error.get("ctx") or {}
    at = tuple(str(context["loc"]).split(".")) if "loc" in context else tuple(error["loc"])
    detail = str(error["msg"])
    if error["type"] in ("union_tag_invalid", "literal_error", "enum"):
        detail = f"{_shown(error, context)}; choose one of {context.get('expected_tags') or context.get('expected')}"
    elif error["type"] == "extra_forbidden":
        detail = "no such field; remove it or correct its name"
    elif error["type"] == "missing":
        detail = "this field is required"
    elif isinstance(error.get("input"), str | int | float | bool) and not error["type"].startswith(
        "value_error"
    ):
        detail = (
            f"{detail}, got {str(error['input'])[:60]!r}"
            if "ctx" in error or "type" in error["type"]
            else detail
        )
    is_named = error["type"] == "missing" or "loc" in context
    return Fault(_pointer(at, body, prefix, is_named), str(error["type"]), detail)


def _shown(error: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    given = context.get("tag", error.get("input"))
    return f"{str(given)[:60]!r} is not known"


def _pointer(at: tuple[Any, ...], body: Any, prefix: str, is_named: bool) -> str:
    """Pydantic puts union tags and types into locations; a pointer has only what is in the body, and where it `is_named`, a last
    part that is not."""
    if at and at[0] in ("query", "path", "header", "cookie"):
        return "/".join(("", *map(str, at)))
    parts: list[str] = []
    place = body
    rest = list(at[1:] if at and at[0] == "body" else at)
    for index, part in enumerate(rest):
        inside = (isinstance(place, dict) and part in place) or (
            isinstance(place, list) and isinstance(part, int) and part < len(place)
        )
        if inside:
            place = place[part]
            parts.append(str(part))
        elif is_named and index == len(rest) - 1 and isinstance(place, dict):
            parts.append(str(part))
    return prefix + "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)
