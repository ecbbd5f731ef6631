"""The API process: routes, the dashboard, and what they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from service import health
from service.access import auth
from service.api import ROUTERS
from service.dashboard.pages import install as install_dashboard
from service.resources import Bell, open_resources
from service.settings import Settings
from service.siblings import Place
from service.version import VERSION
from service.web import problems
from service.web.headers import SecurityHeaders
from service.web.strict_input import StrictInput
from service.web.traffic import CountRequests, Traffic

DESCRIPTION = """Train, probe and serve fused multimodal embeddings.

Errors are RFC 9457 `application/problem+json` with a stable `code`; `errors[].pointer` says where in the request."""


def create_app(settings: Settings, bell: Bell, place: Place | None = None) -> FastAPI:
    """The application. Its database must be migrated (`fusebox migrate`); a model server needs nothing else.

    place: that of this process among several at one address.
    """
    return furnish(assemble(), settings, bell, place)


def assemble() -> FastAPI:
    """All routes, which take most of the time that a start takes, and nothing of the place they will work in."""
    app = FastAPI(
        title="Fusebox",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=_life,
        responses=problems.RESPONSES,
        # The dashboard serves these itself: from its own files, and to those who may read.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    install_dashboard(app)
    auth.assert_every_route_has_a_policy(app)
    return app


def furnish(app: FastAPI, settings: Settings, bell: Bell, place: Place | None = None) -> FastAPI:
    """Gives an assembled application what it works with."""
    app.state.resources = open_resources(settings, bell, place)
    app.state.traffic = Traffic()
    # The last one added sees a request first.
    app.add_middleware(StrictInput, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(CountRequests, traffic=app.state.traffic)
    app.add_middleware(SecurityHeaders)
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    resources = app.state.resources
    try:
        auth.assert_may_listen(resources.settings, resources.sessions)
        resources.inference.start()
        with resources.siblings.told(partial(health.told, resources, app.state.traffic)):
            yield
        resources.inference.stop()
    finally:
        resources.engine.dispose()
