"""The pages people look at, the files they are made of, and the API reference.

A page is a frame; its numbers come from the same JSON API that everybody uses. Where a key is needed, a browser gets
it by the login page and keeps it in a cookie that no script can read and no other site can make it send.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, FastAPI, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from service import datasets, references
from service.auth import COOKIE, assert_same_origin, principal_of, require
from service.deps import ReadSession, ResourcesDep
from service.errors import FuseboxError, NotFoundError, UnauthorizedError
from service.tables import STATES, Job
from service.version import VERSION
from training.spec import DATASETS, Kind

HERE = Path(__file__).parent
templates = Jinja2Templates(HERE / "templates")
files = StaticFiles(directory=HERE / "static")


class Page(APIRoute):
    """A route whose errors are pages too; who is not signed in is led to the login page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_with_pages(request: Request) -> Response:
            try:
                return await answer(request)
            except UnauthorizedError:
                return RedirectResponse("/login", 303)
            except FuseboxError as error:
                return _page(request, "error.html", error.status, title=error.title, detail=error.detail)

        return answer_with_pages


pages = APIRouter(route_class=Page, include_in_schema=False, default_response_class=HTMLResponse)
material = APIRouter(include_in_schema=False)
read = Depends(require("read"))
public = Depends(require("public"))


@pages.get("/", dependencies=[read])
def overview(request: Request) -> Response:
    return _page(
        request, "overview.html", states=STATES, kinds=get_args(Kind), tables=references.tables().values()
    )


@pages.get("/jobs/{job_id}", dependencies=[read])
def job(request: Request, job_id: str, session: ReadSession) -> Response:
    if session.get(Job, job_id) is None:
        raise NotFoundError.of("job", job_id, "the list of jobs is on the first page")
    return _page(request, "job.html", job_id=job_id)


@pages.get("/datasets", dependencies=[read])
def datasets_list(request: Request) -> Response:
    return _page(request, "datasets.html")


@pages.get("/datasets/{name}", dependencies=[read])
def dataset(request: Request, name: str, session: ReadSession) -> Response:
    if name not in DATASETS:
        datasets.named(session, name)
    return _page(request, "dataset.html", dataset=name)


@pages.get("/tables/{name}", dependencies=[read])
def table(request: Request, name: str) -> Response:
    return _page(request, "table.html", table=references.table(name))


@pages.get("/docs", dependencies=[read])
def docs(request: Request) -> Response:
    return _page(request, "docs.html")


@pages.get("/login", dependencies=[public])
def login(request: Request) -> Response:
    return _page(request, "login.html")


@pages.post("/login", dependencies=[public])
def sign_in(request: Request, resources: ResourcesDep, key: Annotated[str, Form(max_length=200)]) -> Response:
    assert_same_origin(request)
    try:
        principal_of(key.strip(), resources.sessions)
    except UnauthorizedError as error:
        return _page(request, "login.html", 401, refusal=error.detail)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE, key.strip(), httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return answer


@pages.post("/logout", dependencies=[public])
def sign_out(request: Request) -> Response:
    assert_same_origin(request)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


@material.get("/openapi.json", dependencies=[read])
def openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@material.get("/static/{path:path}", dependencies=[public])
async def static(request: Request, path: str) -> Response:
    answer = await files.get_response(path, request.scope)
    # Asked again each time, answered 304: a new version is seen at once.
    answer.headers["Cache-Control"] = "no-cache"
    return answer


def install(app: FastAPI) -> None:
    app.include_router(pages)
    app.include_router(material)


def _page(request: Request, name: str, status: int = 200, **content: object) -> Response:
    everywhere = {"version": VERSION, "signed_in": COOKIE in request.cookies}
    return templates.TemplateResponse(request, name, {**everywhere, **content}, status)
