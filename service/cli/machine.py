"""What commands share that work on this machine itself and ask no server: its database, and what they may fail of.

Such commands import it when they run. It takes a second, which a question to a server must not cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from service.db import UNREACHABLE, Sessions, make_engine, make_sessions, migrate
from service.errors import FuseboxError
from service.one_machine.embedded_redis import EmbeddedRedisError
from service.one_machine.parts import EXIT_REFUSED, StartError
from service.settings import Settings

COMPLAINTS = (StartError, EmbeddedRedisError, FuseboxError, ValidationError, *UNREACHABLE)


@contextmanager
def database() -> Iterator[Sessions]:
    """This machine's database itself, for commands that need no running server. Makes its tables where there are none."""
    url = Settings().effective_database_url
    migrate(url)
    engine = make_engine(url)
    try:
        yield make_sessions(engine)
    finally:
        engine.dispose()


def refuse(error: FuseboxError) -> StartError:
    """For a process that must not start as it is configured."""
    return StartError(error.detail, EXIT_REFUSED)


def sentence(error: Exception) -> str:
    """One of COMPLAINTS, for people."""
    if isinstance(error, UNREACHABLE):
        return "the database does not answer; check FUSEBOX_DATABASE_URL"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = str(first["loc"][0]).upper().removeprefix("FUSEBOX_")
        return f"the setting FUSEBOX_{name} is not valid: {first['msg'].removeprefix('Value error, ')}"
    return str(error)


def exit_status(error: Exception) -> int:
    return error.exit_code if isinstance(error, StartError) else 1
