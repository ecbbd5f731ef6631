"""What all commands share: where to print, which server or database to ask, and how an error is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.client import ApiProblem, Client, ClientError
from service.db import UNREACHABLE, Sessions, make_engine, make_sessions, migrate
from service.errors import FuseboxError
from service.one_machine.embedded_redis import EmbeddedRedisError
from service.one_machine.up import EXIT_REFUSED, StartError
from service.settings import Settings

out = Console()
err = Console(stderr=True)
WIDE = 240

COMPLAINTS = (
    ClientError,
    StartError,
    EmbeddedRedisError,
    FuseboxError,
    ValidationError,
    OSError,
    *UNREACHABLE,
)

Server = Annotated[
    str,
    typer.Option(
        envvar="FUSEBOX_SERVER",
        metavar="URL",
        help="The server to ask. A key it needs comes from FUSEBOX_API_KEY.",
    ),
]
ApiKey = Annotated[str | None, typer.Option("--api-key", envvar="FUSEBOX_API_KEY", hidden=True)]


def connect(server: str, api_key: str | None) -> Client:
    return Client(server, api_key)


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


def print_table(table: Table) -> None:
    """As wide as the terminal; in a pipe as wide as it needs, for nothing may be cut off there."""
    (out if out.is_terminal else Console(width=WIDE)).print(table, crop=False)


def complain(error: Exception) -> int:
    """Prints the error for people and returns the exit status."""
    err.print(f"[bold red]error:[/] {escape(_sentence(error))}", highlight=False, soft_wrap=True)
    return error.exit_code if isinstance(error, StartError) else 1


def refuse(error: FuseboxError) -> StartError:
    """For a process that must not start as it is configured."""
    return StartError(error.detail, EXIT_REFUSED)


def _sentence(error: Exception) -> str:
    if isinstance(error, UNREACHABLE):
        return "the database does not answer; check FUSEBOX_DATABASE_URL"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = str(first["loc"][0]).upper().removeprefix("FUSEBOX_")
        return f"the setting FUSEBOX_{name} is not valid: {first['msg'].removeprefix('Value error, ')}"
    if isinstance(error, ApiProblem) and error.status == 401:
        return f"{error.detail}; set FUSEBOX_API_KEY to a key of that server"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
