"""The API in the test's own process."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import State

from service.app import assemble, furnish
from service.bell import SilentBell
from service.db import migrate
from service.resources import Bell
from service.settings import Settings

assembled = cache(assemble)


def app_on_sqlite(folder: Path) -> FastAPI:
    """With all that it keeps below `folder`."""
    url = f"sqlite:///{folder / 'fusebox.db'}"
    migrate(url)
    return new_app(Settings(data_dir=folder / "var", FUSEBOX_DATABASE_URL=url, FUSEBOX_REDIS_URL=""))  # type: ignore[call-arg]


def new_app(settings: Settings, bell: Bell | None = None) -> FastAPI:
    """As `create_app` makes it; but its routes are shared by all tests, which is worth half a second for each."""
    app = copy.copy(assembled())
    app.state, app.user_middleware = State(), []
    return furnish(app, settings, bell or SilentBell())
