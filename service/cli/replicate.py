"""`fusebox replicate`: a table's trainings and probes as one request, followed until the table is there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from service.cli.changes import changed
from service.cli.following import span
from service.cli.grid import follow
from service.cli.terminal import ApiKey, Server, connect, out, print_table
from service.client import DEFAULT_SERVER, Client, ClientError, Json

app = typer.Typer(help="List, cancel and retry replications of tables.", no_args_is_help=True)
ReplicationId = Annotated[str, typer.Argument(metavar="REPLICATION", help="The replication's id.")]
INTERRUPTED = 130
"""Exit status after Ctrl-C."""


def replicate(
    table: Annotated[
        str | None,
        typer.Argument(help="digits, trifeatures … GET /v1/results/tables lists them."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="How many, counted from 42, or which: 42,43,50.")] = "5",
    method: Annotated[
        list[str] | None, typer.Option(help="Only this row or method. May be given several times.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Only this column. May be given several times.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Changed in every training's spec, e.g. epochs=1."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Of the probes, strict or reference; by default the trainings'.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Of the jobs. May be given several times.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would run, and how long.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Follow it until it ends.")] = True,
    format_: Annotated[
        str, typer.Option("--format", help="Of the table in the end: markdown, csv, latex or json.")
    ] = "markdown",
    attach: Annotated[
        str | None, typer.Option(metavar="REPLICATION", help="Follow one that is there already.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Run a table, or a part of it: fusebox replicate digits --seeds 3. What has run already is not run again."""
    if (table is None) == (attach is None):
        raise ClientError("name a table, e.g. `fusebox replicate digits`, or --attach a replication")
    with connect(server, api_key) as client:
        if attach is not None:
            _watch(client, client.replication(attach, results=False), format_)
            return
        asked: dict[str, Any] = {
            "methods": method,
            "columns": column,
            "seeds": _seeds(seeds),
            "changes": changed({}, change or []),
            "probe": {"protocol": protocol} if protocol else {},
            "tags": tag or [],
        }
        _show_plan(client.replicate(str(table), dry_run=True, **asked))
        if dry_run:
            return
        replication = client.replicate(str(table), **asked)
        out.print(replication["id"], highlight=False)
        if watch:
            _watch(client, replication, format_)


@app.command(name="list")
def list_replications(
    table: Annotated[str | None, typer.Option(help="Only those of this table.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """List replications, newest first."""
    filters: dict[str, str | int] = {"limit": limit} | ({"table": table} if table is not None else {})
    with connect(server, api_key) as client:
        found = client.replications(**filters)["data"]
    if not found:
        out.print("No such replications. Make one: fusebox replicate digits", highlight=False)
        return
    ids = Column("replication", no_wrap=True, min_width=34)
    shown = Table(ids, "table", "state", "cells", "age", box=None, pad_edge=False)
    for each in found:
        counts = each["counts"]
        done = f"{counts.get('succeeded', 0)}/{sum(counts.values())}"
        age = span((datetime.now(UTC) - datetime.fromisoformat(each["created_at"])).total_seconds())
        shown.add_row(each["id"], escape(each["table"]), each["state"], done, age)
    print_table(shown)


@app.command()
def cancel(replication: ReplicationId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Stop its jobs, but for those that another replication uses."""
    with connect(server, api_key) as client:
        out.print(client.cancel_replication(replication)["state"])


@app.command()
def retry(replication: ReplicationId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Run the cells that failed, were cancelled or are gone."""
    with connect(server, api_key) as client:
        out.print(client.retry_replication(replication)["state"])


def _seeds(text: str) -> int | list[int]:
    try:
        return [int(part) for part in text.split(",")] if "," in text else int(text)
    except ValueError:
        raise ClientError(f"--seeds {text}: give how many, e.g. 5, or which, e.g. 42,43") from None


def _show_plan(planned: Json) -> None:
    trainings, probes, estimate = planned["trainings"], planned["probes"], planned["estimate"]
    there = trainings["reused"] + probes["reused"]
    lines = [
        f"{trainings['new']} trainings with {planned['optimizer_steps']:,} steps and {probes['new']} probes to run"
        + (f"; {there} jobs are there already" if there else ""),
        f"about {span(estimate['seconds'])}: {estimate['basis']}"
        if estimate["seconds"] is not None
        else f"how long is not known: {estimate['basis']}",
    ]
    for line in lines:
        out.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def _watch(client: Client, replication: Json, form: str) -> None:
    """The table in the end, whatever has become of its cells. Raises ClientError unless all have succeeded."""
    try:
        replication = follow(client, replication)
    except KeyboardInterrupt:
        back = f"The jobs go on. Come back to them with: fusebox replicate --attach {replication['id']}"
        out.print(back, highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(client.replication_table(replication["id"], form).removesuffix("\n"))
    _assert_whole(replication["id"], replication["cells"])


def _assert_whole(replication_id: str, cells: Sequence[Json]) -> None:
    missing = [cell for cell in cells if cell["state"] != "succeeded"]
    if missing:
        raise ClientError(
            f"{len(missing)} of {len(cells)} cells have not succeeded; run them with: fusebox replications retry "
            f"{replication_id}"
        )
