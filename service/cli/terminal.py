"""What all commands share: where to print, which server to ask, and how an error is told."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.client import ApiProblem, Client, ClientError

out = Console()
err = Console(stderr=True)
WIDE = 240

COMPLAINTS = (ClientError, OSError)
"""What a command may fail of that asks a server; of others, see `service.cli.machine`."""

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


def print_table(table: Table) -> None:
    """As wide as the terminal; in a pipe as wide as it needs, for nothing may be cut off there."""
    (out if out.is_terminal else Console(width=WIDE)).print(table, crop=False)


def complain(error: Exception) -> int:
    """Prints the error for people and returns the exit status. Raises it if it is a mistake of ours."""
    if isinstance(error, COMPLAINTS):
        said, status = _sentence(error), 1
    else:
        from service.cli import machine  # whatever can raise these has imported it

        if not isinstance(error, machine.COMPLAINTS):
            raise error
        said, status = machine.sentence(error), machine.exit_status(error)
    err.print(f"[bold red]error:[/] {escape(said)}", highlight=False, soft_wrap=True)
    return status


def _sentence(error: Exception) -> str:
    if isinstance(error, ApiProblem) and error.status == 401:
        return f"{error.detail}; set FUSEBOX_API_KEY to a key of that server"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
