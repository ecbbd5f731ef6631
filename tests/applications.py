"""The API in the test's own process."""

from __future__ import annotations

import copy
from functools import cache

from fastapi import FastAPI
from starlette.datastructures import State

from service.app import assemble, furnish
from service.bell import SilentBell
from service.resources import Bell
from service.settings import Settings

assembled = cache(assemble)


def new_app(settings: Settings, bell: Bell | None = None) -> FastAPI:
    """As `create_app` makes it; but its routes are shared by all tests, which is worth half a second for each."""
    app = copy.copy(assembled(settings.max_body_bytes))
    app.state, app.user_middleware = State(), []
    return furnish(app, settings, bell or SilentBell())
