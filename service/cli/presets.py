"""`fusebox presets`: the runs of the published tables, ready to be submitted."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from service.cli.terminal import ApiKey, Server, connect, out, print_table
from service.client import DEFAULT_SERVER, ClientError


def presets(
    name: Annotated[str | None, typer.Argument(help="Show this one with its whole spec.")] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """List the runs of the published tables: fusebox jobs submit --preset NAME."""
    with connect(server, api_key) as client:
        found = client.presets()["data"]
    if name is not None:
        chosen = next((each for each in found if each["name"] == name), None)
        if chosen is None:
            raise ClientError(f"there is no preset {name!r}; `fusebox presets` lists them")
        out.print_json(data=chosen)
        return
    table = Table(
        Column("preset", no_wrap=True), "dataset", "ready", "options from", box=None, pad_edge=False
    )
    for each in found:
        ready = "yes" if each["ready"] else "not registered"
        table.add_row(*map(escape, (each["name"], each["dataset"], ready, each["options_from"])))
    print_table(table)
