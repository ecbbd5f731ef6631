"""The pages people look at, the files they are made of, and the API reference.

A page is a frame; its numbers come from the same JSON API that everybody uses. Where a key is needed, a browser gets
it by the login page and keeps it in a cookie that no script can read and no other site can make it send.
"""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, FastAPI, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from markupsafe import Markup
from sqlalchemy import select
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from service import references, replications
from service.access.auth import COOKIE, Principal, assert_same_origin, principal_of, require
from service.data import datasets
from service.deps import ReadSession, ResourcesDep
from service.errors import FuseboxError, NotFoundError, UnauthorizedError
from service.states import STATES
from service.tables import Job, Model
from service.version import VERSION
from service.web.packing import can_unpack
from training.spec import DATASETS, Kind

HERE = Path(__file__).parent
KINDS = get_args(Kind)
METHODS = references.methods()
PACKED = (".js", ".css", ".svg")
"""Files that are sent packed to whoever can unpack them: text."""
IMPORTED = re.compile(r'from "\./([\w/.]+\.js)";')
"""What a module of ours imports."""
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
                return _page(
                    request, "error.html", None, error.status, title=error.title, detail=error.detail
                )

        return answer_with_pages


pages = APIRouter(route_class=Page, include_in_schema=False, default_response_class=HTMLResponse)
material = APIRouter(include_in_schema=False)
read = Depends(require("read"))
Reader = Annotated[Principal, read]
public = Depends(require("public"))


@pages.get("/")
def results(request: Request, reader: Reader) -> Response:
    return _page(request, "results.html", reader, tables=references.tables().values())


@pages.get("/jobs")
def jobs(request: Request, reader: Reader) -> Response:
    return _page(request, "jobs.html", reader, states=STATES, kinds=KINDS, methods=METHODS)


@pages.get("/jobs/new")
def new_job(request: Request, reader: Reader) -> Response:
    return _page(request, "new_job.html", reader, kinds=KINDS)


@pages.get("/jobs/{job_id}")
def job(request: Request, reader: Reader, job_id: str, session: ReadSession) -> Response:
    if session.get(Job, job_id) is None:
        raise NotFoundError.of("job", job_id, "look for it in the list of jobs")
    return _page(request, "job.html", reader, job_id=job_id)


@pages.get("/compare")
def compare(request: Request, reader: Reader) -> Response:
    return _page(request, "compare.html", reader)


@pages.get("/replications")
def replications_list(request: Request, reader: Reader) -> Response:
    return _page(request, "replications.html", reader, tables=references.tables().values())


@pages.get("/replications/{replication_id}")
def replication(request: Request, reader: Reader, replication_id: str, session: ReadSession) -> Response:
    replications.get(session, replication_id)
    return _page(request, "replication.html", reader, replication_id=replication_id)


@pages.get("/models")
def models_list(request: Request, reader: Reader) -> Response:
    return _page(request, "models.html", reader)


@pages.get("/models/{name}")
def model(request: Request, reader: Reader, name: str, session: ReadSession) -> Response:
    if session.scalar(select(Model.digest).where(Model.name == name).limit(1)) is None:
        raise NotFoundError.of("model", name[:100], "look for it in the list of models")
    return _page(request, "model.html", reader, model=name)


@pages.get("/embeddings")
def embeddings_list(request: Request, reader: Reader) -> Response:
    return _page(request, "embeddings.html", reader)


@pages.get("/embeddings/{job_id}")
def embedding(request: Request, reader: Reader, job_id: str, session: ReadSession) -> Response:
    job = session.get(Job, job_id)
    if job is None or job.kind != "embed":
        raise NotFoundError.of("index", job_id[:60], "look for it in the list of embeddings")
    return _page(request, "embedding.html", reader, job_id=job_id)


@pages.get("/workers")
def workers(request: Request, reader: Reader) -> Response:
    return _page(request, "workers.html", reader)


@pages.get("/datasets")
def datasets_list(request: Request, reader: Reader) -> Response:
    return _page(request, "datasets.html", reader)


@pages.get("/datasets/{name}")
def dataset(request: Request, reader: Reader, name: str, session: ReadSession) -> Response:
    if name not in DATASETS:
        datasets.named(session, name)
    return _page(request, "dataset.html", reader, dataset=name)


@pages.get("/tables/{name}")
def table(request: Request, reader: Reader, name: str) -> Response:
    return _page(request, "table.html", reader, table=references.table(name))


@pages.get("/docs", dependencies=[read])
def docs(request: Request) -> Response:
    return _page(request, "docs.html", None)


@pages.get("/login", dependencies=[public])
def login(request: Request) -> Response:
    return _page(request, "login.html", None)


@pages.post("/login", dependencies=[public])
def sign_in(request: Request, resources: ResourcesDep, key: Annotated[str, Form(max_length=200)]) -> Response:
    assert_same_origin(request)
    try:
        principal_of(key.strip(), resources.sessions)
    except UnauthorizedError as error:
        return _page(request, "login.html", None, 401, refusal=error.detail)
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
    if answer.status_code == 200 and path.endswith(PACKED) and can_unpack(request):
        return _packed(path, answer)
    return answer


def install(app: FastAPI) -> None:
    app.include_router(pages)
    app.include_router(material)


def _page(
    request: Request, name: str, reader: Principal | None, status: int = 200, **content: object
) -> Response:
    """reader: what it may do decides which buttons a page has; the API asks again."""
    everywhere = {
        "version": VERSION,
        "signed_in": COOKIE in request.cookies,
        "scopes": " ".join(sorted(reader.scopes)) if reader else "",
        "path": request.url.path,
    }
    return templates.TemplateResponse(request, name, {**everywhere, **content}, status)


@functools.cache
def _modules(name: str) -> Markup:
    """The elements that load a page's module, and beside it all that it imports, which would else come one after another."""
    needed = [name]
    for each in needed:
        found = IMPORTED.findall((HERE / "static" / each).read_text("utf-8"))
        needed += [other for other in dict.fromkeys(found) if other not in needed]
    links = [Markup('<link rel="modulepreload" href="/static/{}">').format(each) for each in needed[1:]]
    return Markup("\n  ").join(
        [*links, Markup('<script type="module" src="/static/{}"></script>').format(name)]
    )


templates.env.globals["modules"] = _modules


def _packed(path: str, answer: Response) -> Response:
    """A file as a browser unpacks it; its tag and date stay those of the file."""
    kept = {name: answer.headers[name] for name in ("etag", "last-modified", "cache-control", "content-type")}
    content = _gzip(HERE / "static" / path, kept["etag"])
    return Response(content, headers={**kept, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"})


@functools.lru_cache(maxsize=256)
def _gzip(file: Path, _tag: str) -> bytes:
    return gzip.compress(file.read_bytes(), mtime=0)
